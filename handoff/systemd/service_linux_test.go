package systemd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/hook"
)

func start(t *testing.T, o Options, free ...*given) *service {
	t.Helper()
	s, err := newService(o, &inheritance{}, func(*slog.Logger) ([]*given, error) { return free, nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func (s *service) goes(phases ...handoff.Phase) {
	for _, p := range phases {
		s.phased(p)
	}
}

var self = strconv.Itoa(os.Getpid())

// TestNotify goes through a life: what systemd is told, and in which order.
func TestNotify(t *testing.T) {
	for _, abstract := range []bool{false, true} {
		socket := filepath.Join(shortDir(t), "n")
		if abstract {
			socket = "@" + socket
		}
		m := newManager(t, socket)
		s := start(t, Options{})
		s.goes(handoff.PhaseServing)
		m.hears("READY=1\nSTATUS=serving, process " + self)
		s.goes(handoff.PhaseOffering, handoff.PhaseSwitching, handoff.PhaseServing) // an attempt that fails
		m.hears(`RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=upgrading.*`, "STATUS=upgrading.*", "READY=1\nSTATUS=serving.*")
		for range 2 {
			s.goes(handoff.PhaseOffering, handoff.PhaseSwitching, handoff.PhaseGuarding, handoff.PhaseDraining)
			m.hears(`RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=upgrading.*`, "STATUS=upgrading.*", "STATUS=upgrading.*", "READY=1\nSTATUS=a successor serves.*")
			s.goes(handoff.PhaseGuarding, handoff.PhaseServing) // the successor has died within the guard
			m.hears("STATUS=the successor failed; this process takes the sockets back", "STATUS=serving, process "+self)
		}
		s.goes(handoff.PhaseOffering, handoff.PhaseSwitching, handoff.PhaseGuarding, handoff.PhaseDraining)
		m.forget()
		s.released(hook.Successor{PID: os.Getpid()})
		s.goes(handoff.PhaseStopped)
		m.hears("MAINPID="+self+`(\nMAINPIDFDID=\d+)?\nSTATUS=serving, process `+self, `BARRIER=1\n\+1`)
	}
}

// TestStopping: only the main process says that the service stops, and one whose successor is dead still is that: nobody has taken
// over then. TestStoreLeft has a successor that is of another unit.
func TestStopping(t *testing.T) {
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	s := start(t, Options{})
	s.goes(handoff.PhaseServing)
	m.hears("READY=1.*\nSTATUS=.*")
	s.goes(handoff.PhaseDraining)
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	s.released(hook.Successor{PID: dead.Process.Pid})
	s.goes(handoff.PhaseStopped)
	m.hears("STATUS=a successor serves.*", "STOPPING=1\nSTATUS=stopping; its successor, process "+strconv.Itoa(dead.Process.Pid)+", has ended")
	s.goes(handoff.PhaseStopped)
	m.hears()
}

// TestSuccessor: a process that a generation has started says nothing before it is the main one, and then what its phase is.
func TestSuccessor(t *testing.T) {
	t.Setenv("SEGUE_HANDOFF", "3:1:")
	t.Setenv("WATCHDOG_PID", "1") // of generation 1
	t.Setenv("WATCHDOG_USEC", "3600000000")
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	s := start(t, Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	socket := hook.Socket{Name: "a:b", Conn: ln.(*net.TCPListener)}
	s.opened(socket)
	s.goes(handoff.PhaseProbation, handoff.PhaseServing)
	m.hears()
	s.settled()
	m.hears("WATCHDOG=1", "FDSTORE=1\nFDPOLL=0\nFDNAME=segue/a%3Ab\n\\+1", "READY=1\nSTATUS=serving.*")
	s.cancel() // it repeats nothing any more
	s.tasks.Wait()
	m.forget()
	s.closed(socket)
	m.hears("FDSTOREREMOVE=1\nFDNAME=segue/a%3Ab")
}

// TestWatchdog: it is fed as long as the program is alive by its own account, in whichever phase.
func TestWatchdog(t *testing.T) {
	t.Setenv("WATCHDOG_PID", self)
	t.Setenv("WATCHDOG_USEC", "20000")
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	s := start(t, Options{})
	s.goes(handoff.PhaseServing, handoff.PhaseOffering, handoff.PhaseGuarding)
	m.fed(2)
}

// TestWatchdogHandedOn: the new main process has the whole time from when it is named.
func TestWatchdogHandedOn(t *testing.T) {
	t.Setenv("WATCHDOG_PID", self)
	t.Setenv("WATCHDOG_USEC", "3600000000")
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	s := start(t, Options{})
	s.goes(handoff.PhaseServing)
	m.hears("READY=1\nSTATUS=.*", "WATCHDOG=1")
	s.goes(handoff.PhaseDraining)
	s.released(hook.Successor{PID: os.Getpid()})
	m.hears("STATUS=.*", "MAINPID="+self+`(\nMAINPIDFDID=\d+)?\nWATCHDOG=1\nSTATUS=serving, process `+self, `BARRIER=1\n\+1`)
}

// TestWatchdogAlive: a program that is not well by its own account does not feed it, which is in the log once.
func TestWatchdogAlive(t *testing.T) {
	t.Setenv("WATCHDOG_PID", self)
	t.Setenv("WATCHDOG_USEC", "20000")
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	asked := make(chan struct{})
	var log logged
	s := start(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Alive: func(ctx context.Context) error {
		select {
		case asked <- struct{}{}:
		case <-ctx.Done():
		}
		return errors.New("the database is gone")
	}})
	s.goes(handoff.PhaseServing)
	for range 3 {
		<-asked
	}
	m.hears("READY=1\n.*")
	if n := strings.Count(log.String(), "the database is gone"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
}

// TestWatchdogWithinGuard: a successor that systemd may have found by its PID file feeds it before it is told that it is the main process.
func TestWatchdogWithinGuard(t *testing.T) {
	t.Setenv("SEGUE_HANDOFF", "3:1:")
	t.Setenv("WATCHDOG_PID", "1")
	t.Setenv("WATCHDOG_USEC", "20000")
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	s := start(t, Options{})
	s.goes(handoff.PhaseProbation)
	m.hears()
	s.goes(handoff.PhaseServing)
	m.fed(2)
}

// TestWatchdogOfAnother: WATCHDOG_PID that names a process which is no ancestor of ours is not for us.
func TestWatchdogOfAnother(t *testing.T) {
	t.Setenv("WATCHDOG_PID", "1")
	t.Setenv("WATCHDOG_USEC", "20000")
	if e := readVariables(false); e.watchdog != 0 {
		t.Errorf("fed each %v", e.watchdog/2)
	}
}

// TestWatchdogForeign: a successor that does not know segue may not feed the watchdog, which is switched off until the unit is started
// again.
func TestWatchdogForeign(t *testing.T) {
	t.Setenv("WATCHDOG_PID", self)
	t.Setenv("WATCHDOG_USEC", "3600000000")
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	s := start(t, Options{})
	s.goes(handoff.PhaseServing, handoff.PhaseOffering, handoff.PhaseGuarding, handoff.PhaseDraining)
	for deadline := time.Now().Add(patience); !slices.Contains(m.heard(), "WATCHDOG=1"); m.mark() {
		if time.Now().After(deadline) {
			t.Fatal("the watchdog is not fed")
		}
	}
	m.forget()
	s.released(hook.Successor{PID: os.Getpid(), Foreign: true})
	s.goes(handoff.PhaseStopped)
	m.hears("MAINPID="+self+`(\nMAINPIDFDID=\d+)?\nWATCHDOG_USEC=0\nSTATUS=serving, process `+self, `BARRIER=1\n\+1`)
}

// replacer is a source of a process that this one replaces.
type replacer struct{ handoff.Source }

func (replacer) Replaces() bool { return true }

// TestReplaces: a process that takes the place of one which does not know segue says that it is the main process, and feeds the
// watchdog of the first process of the unit.
func TestReplaces(t *testing.T) {
	t.Setenv("WATCHDOG_PID", "1")
	t.Setenv("WATCHDOG_USEC", "20000")
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	s := start(t, Options{})
	s.replaces([]handoff.Source{replacer{}})
	s.goes(handoff.PhaseServing)
	m.mark()
	if want := "READY=1\nMAINPID=" + self + "\n"; !slices.ContainsFunc(m.heard(), func(v string) bool { return strings.HasPrefix(v, want) }) {
		t.Errorf("told %q, not %q", m.heard(), want)
	}
	m.fed(2)
}

// TestNotifySocket: one that is not there, or wrong, or does not answer, is in the log, once, and harms nobody.
func TestNotifySocket(t *testing.T) {
	for _, socket := range []string{"vsock:2:1", "relative", filepath.Join(shortDir(t), "missing")} {
		t.Setenv("NOTIFY_SOCKET", socket)
		var log strings.Builder
		s := start(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		s.goes(handoff.PhaseServing, handoff.PhaseOffering, handoff.PhaseServing, handoff.PhaseStopped)
		if n := strings.Count(log.String(), "systemd "); n != 1 {
			t.Errorf("%s: logged %d times:\n%s", socket, n, log.String())
		}
	}
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	m.mu.Lock()
	m.deaf = true
	m.mu.Unlock()
	s := start(t, Options{})
	s.goes(handoff.PhaseServing, handoff.PhaseDraining)
	s.released(hook.Successor{PID: os.Getpid()})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.goes(handoff.PhaseStopped)
	}()
	select {
	case <-ended:
	case <-time.After(2 * barrierTimeout):
		t.Error("a process does not end whose barrier is not answered")
	}
}

// TestNotifySocketFull: a full queue costs a second each time that something happens, however many sockets are to be stored, whether
// nobody reads it or somebody who is slow. It is in the log, and once if nothing gets through.
func TestNotifySocketFull(t *testing.T) {
	for name, pace := range map[string]time.Duration{"nobody reads": 0, "slow": 50 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(shortDir(t), "n")
			c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: socket})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			t.Setenv("NOTIFY_SOCKET", socket)
			filler, err := net.DialUnix("unixgram", nil, c.LocalAddr().(*net.UnixAddr))
			if err != nil {
				t.Fatal(err)
			}
			defer filler.Close()
			for err == nil { // net.unix.max_dgram_qlen of them
				_ = filler.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
				_, err = filler.Write([]byte("x"))
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			var reading sync.WaitGroup
			defer reading.Wait()
			ended := make(chan struct{})
			defer func() {
				close(ended)
				_ = c.Close()
			}()
			if pace > 0 {
				reading.Go(func() {
					for tick := time.NewTicker(pace); ; {
						select {
						case <-tick.C:
							if msg, err := fdpass.Recv(c, make([]byte, 4096)); err == nil {
								msg.Close()
							}
						case <-ended:
							tick.Stop()
							return
						}
					}
				})
			}
			var log logged
			// A second for each message would be more than two minutes.
			tooLong := time.AfterFunc(4*patience, func() { _ = c.Close() })
			s := start(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			g := s.join(t, handoff.Config{})
			for range 100 {
				listen(t, g, "127.0.0.1:0")
			}
			ready(t, g)
			s.mu.Lock()
			stored := 0
			for _, k := range s.sockets {
				if k.stored {
					stored++
				}
			}
			s.mu.Unlock()
			if stored == 100 || (stored > 0) != (pace > 0) {
				t.Errorf("%d sockets are stored in a second, at one each %v", stored, pace)
			}
			listen(t, g, "127.0.0.1:0")
			_ = g.Close()
			if !tooLong.Stop() {
				t.Error("it waits for each message")
			}
			if n := strings.Count(log.String(), "systemd is not told"); n == 0 || n > 1 && pace == 0 {
				t.Errorf("logged %d times:\n%s", n, log.String())
			}
		})
	}
}

// TestConfig: what the program has set stays.
func TestConfig(t *testing.T) {
	s := start(t, Options{})
	own, trace := (*source)(start(t, Options{})), &handoff.Trace{}
	c := s.config(handoff.Config{Path: "p", Sources: []handoff.Source{own}, Trace: trace, Siblings: true})
	if c.Path != "p" || !c.Siblings || c.Trace != trace || !slices.Equal(c.Sources, []handoff.Source{own, (*source)(s)}) {
		t.Errorf("%+v", c)
	}
}

// TestOpen gives a socket to a generation, takes it back, and gives it again.
func TestOpen(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := start(t, Options{}, pass(t, "web", ln.(*net.TCPListener)))
	if got := s.got.free; len(got) != 1 || got[0].address != ln.Addr().String() || got[0].stored || got[0].err != nil {
		t.Errorf("sockets: %+v", got)
	}
	src := (*source)(s)
	for range 2 {
		fd, err := src.Open(t.Context(), "web", "tcp", ":1")
		if err != nil || fd == nil {
			t.Fatalf("got %v, %v", fd, err)
		}
		if again, err := src.Open(t.Context(), "web", "tcp", ":1"); again != nil || err != nil {
			t.Errorf("again: %v, %v", again, err)
		}
		src.Return(fd)
	}
	if fd, err := src.Open(t.Context(), "file", "", ""); fd != nil || err != nil {
		t.Errorf("a file: %v, %v", fd, err)
	}
}

// TestUnitOf: a process below the control group of a unit is of that unit.
func TestUnitOf(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/app.service\n":                             "/system.slice/app.service",
		"0::/system.slice/app.service/.control\n":                    "/system.slice/app.service",
		"1:name=systemd:/x\n0::/user.slice/user-0.slice/a.scope/b\n": "/user.slice/user-0.slice/a.scope",
		"0::/\n":         "/",
		"12:memory:/x\n": "",
	} {
		if got := unitOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	for pid, want := range map[int]place{os.Getpid(): inUnit, dead.Process.Pid: nowhere, 0: elsewhere, -1: elsewhere} {
		if got := whereIs(pid); got != want {
			t.Errorf("process %d: %d, want %d", pid, got, want)
		}
	}
}

// TestFailedUpgrade: the line of the unit says that the last upgrade failed, and why, in one line.
func TestFailedUpgrade(t *testing.T) {
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	g := start(t, Options{}).join(t, handoff.Config{Command: func() *exec.Cmd {
		return exec.Command("sh", "-c", "printf 'one\nREADY=0\n'; exit 3")
	}})
	listen(t, g, "127.0.0.1:0")
	ready(t, g)
	m.forget()
	if g.Upgrade(t.Context()) == nil {
		t.Fatal("the upgrade succeeds")
	}
	m.mark()
	m.mu.Lock()
	defer m.mu.Unlock()
	last := m.told[len(m.told)-1]
	want := "STATUS=serving, process " + self + "; the last upgrade failed: "
	if !strings.HasPrefix(last, want) || !strings.Contains(last, "exit status 3") || strings.Contains(last, "\n") {
		t.Errorf("told %q, the last is to begin with %q", m.told, want)
	}
}

// TestOneLine: whatever an error says, systemd takes it as one line.
func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                        "plain",
		"first:\nMAINPID=1":            "first",
		"tab\tand \xff":                "tab and ?",
		strings.Repeat("ä", 200):       strings.Repeat("ä", 150) + " ...",
		"a" + strings.Repeat("ä", 200): "a" + strings.Repeat("ä", 149) + " ...",
	} {
		if got := oneLine(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
