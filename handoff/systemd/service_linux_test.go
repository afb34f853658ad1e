package systemd

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/listener"
)

const patience = 10 * time.Second

// manager is a NOTIFY_SOCKET that remembers what it was told.
type manager struct {
	t    *testing.T
	conn *net.UnixConn

	mu   sync.Mutex
	told []string
	deaf bool // it keeps the descriptors of barriers
	held []*listener.FD
	done chan struct{}
}

func newManager(t *testing.T, socket string) *manager {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{t: t, conn: c, done: make(chan struct{})}
	go m.read()
	t.Cleanup(func() {
		_ = c.Close()
		<-m.done
		for _, fd := range m.held {
			_ = fd.Close()
		}
	})
	t.Setenv("NOTIFY_SOCKET", socket)
	return m
}

func (m *manager) read() {
	defer close(m.done)
	buf := make([]byte, 4096)
	for {
		msg, err := fdpass.Recv(m.conn, buf)
		if err != nil {
			return
		}
		m.mu.Lock()
		text := string(msg.Payload)
		if len(msg.FDs) > 0 {
			text += fmt.Sprintf("\n+%d", len(msg.FDs))
		}
		m.told = append(m.told, text)
		if m.deaf {
			m.held, msg.FDs = append(m.held, msg.FDs...), nil
		}
		m.mu.Unlock()
		msg.Close()
	}
}

// hears waits until it was told what the patterns say, in turn and nothing else, and forgets it.
func (m *manager) hears(patterns ...string) {
	m.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		m.mu.Lock()
		told := m.told
		if len(told) >= len(patterns) || time.Now().After(deadline) {
			m.told = nil
			m.mu.Unlock()
			for i, p := range patterns {
				if i >= len(told) || !regexp.MustCompile("(?s)^(?:"+p+")$").MatchString(told[i]) {
					m.t.Errorf("told %q, want %q", told, patterns)
					return
				}
			}
			if len(told) > len(patterns) {
				m.t.Errorf("told %q, want %q only", told, patterns)
			}
			return
		}
		m.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

func start(t *testing.T, o Options, free ...*given) *Service {
	t.Helper()
	s, err := newService(o, &inheritance{}, func(*slog.Logger) ([]*given, error) { return free, nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func (s *Service) goes(phases ...handoff.Phase) {
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
		s.goes(handoff.PhaseOffering, handoff.PhaseSwitching, handoff.PhaseGuarding, handoff.PhaseDraining)
		m.hears(`RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=upgrading.*`, "STATUS=upgrading.*", "STATUS=upgrading.*", "READY=1\nSTATUS=a successor serves.*")
		s.released(handoff.Peer{PID: os.Getpid()})
		s.goes(handoff.PhaseStopped)
		m.hears("MAINPID="+self+`(\nMAINPIDFDID=\d+)?\nSTATUS=serving, process `+self, `BARRIER=1\n\+1`)
	}
}

// TestStopping: only the main process says that the service stops, and one whose successor is dead, or of another unit, still is that.
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
	s.released(handoff.Peer{PID: dead.Process.Pid})
	s.goes(handoff.PhaseStopped)
	m.hears("STATUS=a successor serves.*", "STOPPING=1\nSTATUS=stopping; process .* has taken over")
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
	s.opened(handoff.SocketStatus{Name: "a:b"}, ln.(*net.TCPListener))
	s.goes(handoff.PhaseProbation, handoff.PhaseServing)
	m.hears()
	s.settled()
	m.hears("WATCHDOG=1", "FDSTORE=1\nFDPOLL=0\nFDNAME=segue/a%3Ab\n\\+1", "READY=1\nSTATUS=serving.*")
	s.closed(handoff.SocketStatus{Name: "a:b"})
	m.hears("FDSTOREREMOVE=1\nFDNAME=segue/a%3Ab|READY=1.*", ".*")
}

// TestStoreGroup: when one of several sockets of a name is closed, systemd removes all of that name, and gets the others again.
func TestStoreGroup(t *testing.T) {
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	s := start(t, Options{})
	for i := range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		s.opened(handoff.SocketStatus{Name: "group", Address: strconv.Itoa(i)}, ln.(*net.TCPListener))
	}
	s.goes(handoff.PhaseServing)
	m.hears("FDSTORE=1(.|\n)*", "FDSTORE=1(.|\n)*", "READY=1\n.*")
	s.closed(handoff.SocketStatus{Name: "group", Address: "0"})
	m.hears("FDSTOREREMOVE=1\nFDNAME=segue/group", "FDSTORE=1\nFDPOLL=0\nFDNAME=segue/group\n\\+1")
}

// TestNewer: a systemd that names processes by pidfds gets one.
func TestNewer(t *testing.T) {
	t.Setenv("MAINPIDFDID", "1")
	t.Setenv("FDSTORE", "0")
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	s := start(t, Options{})
	s.goes(handoff.PhaseServing, handoff.PhaseDraining)
	s.released(handoff.Peer{PID: os.Getpid()})
	m.hears("READY=1\n.*", "STATUS=.*", "MAINPID="+self+"(\nMAINPIDFDID=\\d+)?\nSTATUS=.*\nMAINPIDFD=1\n\\+1", "BARRIER=1\n\\+1")
}

// TestWatchdog: it is fed as long as the program is alive by its own account, in whichever phase.
func TestWatchdog(t *testing.T) {
	t.Setenv("WATCHDOG_PID", self)
	t.Setenv("WATCHDOG_USEC", "20000")
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	s := start(t, Options{})
	s.goes(handoff.PhaseServing, handoff.PhaseOffering, handoff.PhaseGuarding)
	m.hears("(.|\n)*", "(.|\n)*", "(.|\n)*", "(.|\n)*")
	m.hears("WATCHDOG=1", "WATCHDOG=1")
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
	m.hears("WATCHDOG=1", "WATCHDOG=1")
}

// TestWatchdogOfAnother: WATCHDOG_PID that names a process which is no ancestor of ours is not for us.
func TestWatchdogOfAnother(t *testing.T) {
	t.Setenv("WATCHDOG_PID", "1")
	t.Setenv("WATCHDOG_USEC", "20000")
	if e := readVariables(); e.watchdog != 0 {
		t.Errorf("fed each %v", e.watchdog/2)
	}
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
	s.released(handoff.Peer{PID: os.Getpid()})
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

// TestConfig: what the program has set stays, and its Trace is called.
func TestConfig(t *testing.T) {
	s := start(t, Options{})
	var calls []string
	c := s.Config(handoff.Config{Path: "p", Trace: &handoff.Trace{
		Released: func(handoff.Peer) { calls = append(calls, "released") },
		Closed:   func(handoff.SocketStatus) { calls = append(calls, "closed") },
	}})
	c.Trace.Released(handoff.Peer{})
	c.Trace.Closed(handoff.SocketStatus{})
	if c.Path != "p" || len(c.Sources) != 1 || !slices.Equal(calls, []string{"released", "closed"}) {
		t.Errorf("%+v, %q", c, calls)
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
	if got := s.Sockets(); len(got) != 1 || got[0].Address != ln.Addr().String() || got[0].Stored || got[0].Err != nil {
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
	if !sameUnit(os.Getpid()) {
		t.Error("not of its own unit")
	}
}
