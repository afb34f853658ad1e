package integration

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// quick makes the guard short, so that a test need not wait for it.
var quick = []string{"-stop-timeout", "-guard 300ms -stop-timeout"}

// long makes it so long that it does not end within a test.
var long = []string{"-stop-timeout", "-guard 1m -stop-timeout"}

// TestSystemdReload reloads the service of the example ten times under load: nobody notices, and after each guard systemd has the
// new process for the main one, which feeds the watchdog. A stop leaves nothing behind.
func TestSystemdReload(t *testing.T) {
	if !sandboxed(t) {
		return
	}
	s := newService(t, append(slices.Clone(quick), "WatchdogSec=10s", "WatchdogSec=2s", "-segue", "-unix /run/app/http.sock -segue")...)
	s.systemctl("start", "app")
	if got := s.show("StatusText"); !strings.HasPrefix(got, "serving") {
		t.Errorf("its status is %q", got)
	}
	crowd := s.crowd()
	known := []int{s.mainPID()}
	for range 10 {
		pid := s.reload()
		if slices.Contains(known, pid) {
			t.Fatalf("process %d again", pid)
		}
		known = append(known, pid)
		if got := s.show("ActiveState") + " " + s.show("SubState"); got != "active running" {
			t.Errorf("after an upgrade the unit is %s", got)
		}
		if b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err != nil || strings.Fields(string(b[strings.LastIndexByte(string(b), ')'):]))[2] != "1" {
			t.Errorf("process %d is no child of systemd: %s %v", pid, b, err)
		}
	}
	for begun := time.Now(); time.Since(begun) < 3*time.Second; time.Sleep(100 * time.Millisecond) { // longer than the watchdog waits
		if n, err := s.ask(); err != nil || n != known[10] {
			t.Fatalf("process %d answers, %v; the watchdog?", n, err)
		}
	}
	s.unharmed(crowd)
	if got := s.show("NRestarts"); got != "0" {
		t.Errorf("%s restarts", got)
	}
	s.noWarnings()
	s.systemctl("stop", "app")
	s.gone()
	if got := s.show("Result"); got != "success" {
		t.Errorf("the result is %s", got)
	}
}

// noWarnings fails the test if systemd has complained about the service.
func (s *service) noWarnings() {
	s.t.Helper()
	out, err := exec.Command("journalctl", "--no-pager", "-o", "cat", "-p", "warning", "_PID=1").CombinedOutput()
	if err != nil {
		s.t.Fatalf("journalctl: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		// The PID file made the new process the main one before its predecessor named it; see feedLocked in handoff/systemd.
		early := strings.Contains(line, "reception only permitted for main PID")
		if strings.Contains(line, "app.") && !early {
			s.t.Errorf("systemd warns: %s", line)
		}
	}
}

// TestSystemdReloads reloads the service again and again as soon as the last reload has returned, under load and with a guard that
// does not end: each reload returns when the next process serves, and nobody notices.
func TestSystemdReloads(t *testing.T) {
	if !sandboxed(t) {
		return
	}
	s := newService(t, append(slices.Clone(long), "WatchdogSec=10s", "WatchdogSec=2s")...)
	s.systemctl("start", "app")
	crowd := s.crowd()
	pid := s.mainPID()
	for range 10 {
		s.systemctl("reload", "app")
		n, err := s.ask()
		if err != nil || n == pid {
			t.Fatalf("after the reload process %d answers, %v", n, err)
		}
		pid = n
	}
	for begun := time.Now(); time.Since(begun) < 3*time.Second; time.Sleep(100 * time.Millisecond) { // longer than the watchdog waits
		if n, err := s.ask(); err != nil || n != pid {
			t.Fatalf("process %d answers, %v; the watchdog?", n, err)
		}
	}
	s.unharmed(crowd)
	if got := s.show("NRestarts"); got != "0" {
		t.Errorf("%s restarts", got)
	}
	out, err := exec.Command("/usr/local/bin/segue", "status", "/run/app/segue.sock").CombinedOutput() // as root, which may
	if err != nil || !strings.Contains(string(out), strconv.Itoa(pid)) {
		t.Errorf("segue status: %v\n%s", err, out)
	}
	s.noWarnings()
	s.systemctl("stop", "app")
	s.gone()
}

// TestSystemdBroken reloads into programs that fail: the reload fails, the old one serves on, and stays the main process.
func TestSystemdBroken(t *testing.T) {
	if !sandboxed(t) {
		return
	}
	s := newService(t, quick...)
	s.systemctl("start", "app")
	crowd := s.crowd()
	old := s.mainPID()
	for _, program := range []string{"#!/bin/sh\necho 'cannot find my configuration' >&2\nexit 3\n", "no program at all"} {
		before := strings.Count(s.journal(), "upgrade failed")
		s.replace([]byte(program))
		if out, err := s.try("reload", "app"); err == nil || !strings.Contains(out, "failed") {
			t.Errorf("the reload does not fail: %v\n%s", err, out)
		}
		await(t, "word of the failure", func() bool { return strings.Count(s.journal(), "upgrade failed") > before })
		s.becomes("SubState", "running")
		if n, err := s.ask(); n != old || err != nil || s.mainPID() != old {
			t.Errorf("process %d answers, %v, and the main one is %d, not %d", n, err, s.mainPID(), old)
		}
	}
	if !strings.Contains(s.journal(), "ended: exit status 3") {
		t.Error("the journal does not say how the first one ended")
	}
	s.install("app")
	s.reload()
	s.unharmed(crowd)
}

// TestSystemdStopReload stops the service while a reload waits: systemd ends segue upgrade too, and the unit has not failed.
func TestSystemdStopReload(t *testing.T) {
	if !sandboxed(t) {
		return
	}
	s := newService(t, quick...)
	s.systemctl("start", "app")
	s.replace([]byte("#!/bin/sh\nexec sleep 1000\n"))
	s.systemctl("--no-block", "reload", "app")
	await(t, "a successor starts", func() bool { return strings.HasPrefix(s.show("StatusText"), "upgrading") })
	s.systemctl("stop", "app")
	s.gone()
	if got := s.show("ActiveState") + " " + s.show("Result"); got != "inactive success" {
		t.Errorf("the unit is %s", got)
	}
}

func (s *service) journal() string {
	out, _ := exec.Command("journalctl", "--no-pager", "-o", "cat", "-u", "app.service").CombinedOutput()
	return string(out)
}

// TestSystemdCrash kills processes of the service in each state of an upgrade: it serves again each time, by a process that systemd
// knows, and clients who connect meanwhile wait.
func TestSystemdCrash(t *testing.T) {
	if !sandboxed(t) {
		return
	}
	for _, c := range []struct {
		name string
		edit []string
		// crash kills. It returns which processes cannot be who serves then, and whether systemd is to have restarted the unit.
		crash func(t *testing.T, s *service) (not []int, restarted bool)
	}{
		{"serving", quick, func(t *testing.T, s *service) ([]int, bool) {
			pid := s.mainPID()
			_ = unix.Kill(pid, unix.SIGKILL)
			return []int{pid}, true
		}},
		{"serving and again when it is restarted", quick, func(t *testing.T, s *service) ([]int, bool) {
			pid := s.mainPID()
			s.keep("app.good")
			s.replace([]byte("#!/bin/sh\n[ -e /run/app/two ] && exec /usr/local/bin/app.good \"$@\"\n" +
				"[ -e /run/app/one ] && touch /run/app/two || touch /run/app/one\nexit 1\n"))
			_ = unix.Kill(pid, unix.SIGKILL)
			s.another(pid)
			if got := s.show("NRestarts"); got != "3" {
				t.Errorf("%s restarts, want 3", got)
			}
			return []int{pid}, true
		}},
		{"the incumbent within the guard", long, func(t *testing.T, s *service) ([]int, bool) {
			old := s.mainPID()
			s.systemctl("reload", "app")
			pid := s.another(old)
			s.becomes("SubState", "running")
			_ = unix.Kill(old, unix.SIGKILL) // the successor becomes the main process by the PID file
			s.becomes("MainPID", strconv.Itoa(pid))
			return []int{old}, false
		}},
		{"the incumbent within the guard by SIGTERM", long, func(_ *testing.T, s *service) ([]int, bool) {
			old := s.mainPID()
			s.systemctl("reload", "app")
			pid := s.another(old)
			s.becomes("SubState", "running")
			_ = unix.Kill(old, unix.SIGTERM) // it must not have systemd believe that the service stops
			s.becomes("MainPID", strconv.Itoa(pid))
			for unix.Kill(old, 0) == nil {
				s.becomes("SubState", "running")
			}
			s.becomes("SubState", "running")
			return []int{old}, false
		}},
		{"the successor within the guard", long, func(t *testing.T, s *service) ([]int, bool) {
			old := s.mainPID()
			s.systemctl("reload", "app")
			pid := s.another(old)
			s.becomes("SubState", "running")
			early := s.mainPID() == pid // by the PID file, which systemd reads when ExecReload has ended
			_ = unix.Kill(pid, unix.SIGKILL)
			if early { // the old process serves again until systemd, for which the service has failed, ends it
				return []int{pid, old}, true
			}
			return []int{pid}, false
		}},
		{"the successor after the guard", quick, func(t *testing.T, s *service) ([]int, bool) {
			old := s.mainPID()
			slow := s.slow(5 * time.Second) // so that the old one drains
			pid := s.reload()
			if unix.Kill(old, 0) != nil {
				t.Error("the old process does not drain")
			}
			_ = unix.Kill(pid, unix.SIGSEGV)
			<-slow
			return []int{pid, old}, true
		}},
		{"the successor when it starts", quick, func(t *testing.T, s *service) ([]int, bool) {
			old := s.mainPID()
			s.replace([]byte("#!/bin/sh\nkill -KILL $$\n"))
			if _, err := s.try("reload", "app"); err == nil {
				t.Error("the reload does not fail")
			}
			await(t, "word of the failure", func() bool { return strings.Contains(s.journal(), "upgrade failed") })
			s.install("app")
			if n, err := s.ask(); n != old || err != nil {
				t.Errorf("process %d answers, %v, want %d", n, err, old)
			}
			return nil, false
		}},
		{"the incumbent while its successor starts", quick, func(t *testing.T, s *service) ([]int, bool) {
			old := s.mainPID()
			s.replace([]byte("#!/bin/sh\nexec sleep 60\n"))
			s.systemctl("reload", "--no-block", "app")
			s.becomes("SubState", "reload")
			s.install("app")
			_ = unix.Kill(old, unix.SIGKILL)
			return []int{old}, true
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newService(t, c.edit...)
			s.systemctl("start", "app")
			stop := s.queue("tcp", s.addr)
			not, restarted := c.crash(t, s)
			pid := s.another(not...)
			s.becomes("MainPID", strconv.Itoa(pid))
			s.becomes("SubState", "running")
			answered, errs := stop()
			for _, err := range errs { // what the dead one had accepted dies with it
				if strings.Contains(err.Error(), "refused") {
					t.Errorf("a client: %v", err)
				}
			}
			if answered == 0 {
				t.Error("no client was answered")
			}
			if got := s.show("NRestarts"); (got != "0") != restarted {
				t.Errorf("%s restarts", got)
			}
			s.reload0(pid)
			s.systemctl("stop", "app")
			s.gone()
		})
	}
}

// reload0 sees that an upgrade works after all that, and waits for no guard.
func (s *service) reload0(old int) {
	s.t.Helper()
	s.systemctl("reload", "app")
	s.another(old)
}

// slow has a client wait for an answer that takes so long, and returns when that has been accepted. The channel is closed when it has ended.
func (s *service) slow(d time.Duration) (ended chan struct{}) {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := c.Write([]byte("GET /slow?ms=" + strconv.Itoa(int(d.Milliseconds())) + " HTTP/1.1\r\nHost: app\r\n\r\n")); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.ask(); err != nil { // which is accepted later
		s.t.Fatal(err)
	}
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(2 * patience))
		_, _ = c.Read(make([]byte, 1))
	}()
	return ended
}

// TestSystemdRestart restarts the service, also while an old process drains: clients wait in the queue, and the drain is cut to the
// time that is set.
func TestSystemdRestart(t *testing.T) {
	if !sandboxed(t) {
		return
	}
	s := newService(t, "-stop-timeout 10s", "-unix /run/app/http.sock -guard 300ms -stop-timeout 1s")
	s.systemctl("start", "app")
	for _, draining := range []bool{false, true} {
		old := s.mainPID()
		not := []int{old}
		if draining {
			slow := s.slow(50 * time.Second)
			not = append(not, s.reload())
			if unix.Kill(old, 0) != nil {
				t.Error("the old process does not drain")
			}
			defer func() { <-slow }()
		}
		queues := []func() (int, []error){s.queue("tcp", s.addr), s.queue("unix", "/run/app/http.sock")}
		s.systemctl("restart", "app") // it is back within patience, or TimeoutStopSec kills: then the result is timeout
		pid := s.another(not...)
		for i, stop := range queues {
			answered, errs := stop()
			for _, err := range errs { // a stop ends what was accepted and has not been read, of one client at most
				if len(errs) > 1 || !strings.Contains(err.Error(), "EOF") && !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("draining %v: a client of queue %d: %v", draining, i, err)
				}
			}
			if answered == 0 {
				t.Errorf("no client of queue %d was answered", i)
			}
		}
		if got := s.mainPID(); got != pid {
			t.Errorf("the main process is %d, and %d serves", got, pid)
		}
		if strings.Contains(s.journal(), "timed out") {
			t.Error("systemd had to kill")
		}
		if n, err := s.askAt("unix", "/run/app/http.sock", "/"); n != pid || err != nil {
			t.Errorf("at the Unix socket process %d, %v", n, err)
		}
	}
	s.reload()
	s.noWarnings()
	s.systemctl("stop", "app")
	s.gone()
}

// TestSystemdSocket has systemd make the socket: it starts the service at the first connection, keeps it through a restart, and a stop
// of both leaves nothing.
func TestSystemdSocket(t *testing.T) {
	if !sandboxed(t) {
		return
	}
	s := newService(t, quick...)
	s.systemctl("start", "app.socket")
	if got := s.show("ActiveState"); got != "inactive" {
		t.Errorf("before the first connection the service is %s", got)
	}
	first := s.another(0)
	if got := s.mainPID(); got != first {
		t.Errorf("the main process is %d, and %d serves", got, first)
	}
	crowd := s.crowd()
	for range 2 {
		s.reload()
		if got := s.show("NFileDescriptorStore"); got != "0" {
			t.Errorf("%s sockets are stored, and the only one is the socket unit's", got)
		}
	}
	s.unharmed(crowd)
	old := s.mainPID()
	stop := s.queue("tcp", s.addr)
	s.systemctl("restart", "app")
	s.another(old)
	if _, errs := stop(); len(errs) > 1 || len(errs) == 1 && !strings.Contains(errs[0].Error(), "EOF") { // as in TestSystemdRestart
		t.Errorf("clients in a restart: %v", errs)
	}
	s.noWarnings()
	s.systemctl("stop", "app.socket", "app.service")
	s.gone()
}
