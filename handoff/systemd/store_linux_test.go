package systemd

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/hook"
	"github.com/segue-go/segue/listener"
)

// stored returns which sockets the manager has in its store under the name of a socket, once they are as many as want.
func (m *manager) stored(name string, want int) (cookies []uint64) {
	m.t.Helper()
	m.mark()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		m.mu.Lock()
		cookies = nil
		for _, fd := range m.store[escape(name)] {
			cookies = append(cookies, cookieOf(m.t, fd))
		}
		m.mu.Unlock()
		if len(cookies) == want || time.Now().After(deadline) {
			break
		}
	}
	if len(cookies) != want {
		m.t.Errorf("%d sockets are stored as %s, want %d", len(cookies), name, want)
	}
	slices.Sort(cookies)
	return cookies
}

func cookieOf(t *testing.T, c any) uint64 {
	t.Helper()
	i, err := listener.Describe(c.(syscall.Conn))
	if err != nil {
		t.Fatal(err)
	}
	return i.Cookie
}

// join makes s part of a generation.
func (s *service) join(t *testing.T, c handoff.Config) *handoff.Generation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	g, err := handoff.Join(ctx, s.config(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

func listen(t *testing.T, g *handoff.Generation, address string) net.Listener {
	t.Helper()
	lc := &net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	}}
	ln, err := g.ListenAs(t.Context(), "group", "tcp", address, lc)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func ready(t *testing.T, g *handoff.Generation) {
	t.Helper()
	if err := g.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestStoreGroup: of an SO_REUSEPORT group, whose sockets have one name and one address, the store keeps those that are open,
// whichever is closed: systemd removes all of a name at once.
func TestStoreGroup(t *testing.T) {
	for closed := range 3 {
		m := newManager(t, filepath.Join(shortDir(t), "n"))
		g := start(t, Options{}).join(t, handoff.Config{})
		var group []net.Listener
		address := "127.0.0.1:0"
		for range 3 {
			group = append(group, listen(t, g, address))
			address = group[0].Addr().String()
		}
		ready(t, g)
		m.stored("group", 3)
		var want []uint64
		for i, ln := range group {
			if i != closed {
				want = append(want, cookieOf(t, ln))
			}
		}
		slices.Sort(want)
		_ = group[closed].Close()
		if got := m.stored("group", 2); !slices.Equal(got, want) {
			t.Errorf("socket %d is closed, and %d are stored, want %d", closed, got, want)
		}
		_ = g.Close()
	}
}

// TestStoreSmallerGroup: a program that comes back after a crash and asks for fewer of a group than are stored has those in
// the store from then on.
func TestStoreSmallerGroup(t *testing.T) {
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	g := start(t, Options{}).join(t, handoff.Config{})
	one := listen(t, g, "127.0.0.1:0")
	two := listen(t, g, one.Addr().String())
	ready(t, g)
	m.stored("group", 2)
	passed := []*given{pass(t, escape("group"), one.(syscall.Conn)), pass(t, escape("group"), two.(syscall.Conn))}
	address := one.Addr().String()
	_ = g.Close()

	h := start(t, Options{}, passed...).join(t, handoff.Config{})
	left := listen(t, h, address)
	ready(t, h)
	if got := m.stored("group", 1); !slices.Equal(got, []uint64{cookieOf(t, left)}) {
		t.Errorf("%d are stored, want %d", got, cookieOf(t, left))
	}
}

// TestStoreLeft: a process that does not speak segue's protocol, and takes over, would find its own sockets in the store, and
// not read them. So the store is emptied.
func TestStoreLeft(t *testing.T) {
	for _, tt := range []struct {
		name string
		pid  int
		told string
	}{
		{"of the unit", os.Getpid(), "MAINPID=" + self + "\n"},
		{"without a number here", 0, "STOPPING=1\nSTATUS=stopping; a process without a number here, which is not of this unit, has taken over"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newManager(t, filepath.Join(shortDir(t), "n"))
			g := start(t, Options{}).join(t, handoff.Config{})
			listen(t, g, "127.0.0.1:0")
			if _, err := g.ListenPacket(t.Context(), "udp", "127.0.0.1:0"); err != nil {
				t.Fatal(err)
			}
			ready(t, g)
			m.stored("group", 1)
			m.stored("udp/127.0.0.1:0", 1)
			err := hook.UpgradeTo(t.Context(), g, func(_ context.Context, cmd *exec.Cmd, _ []hook.Lent) error {
				if tt.pid != 0 {
					cmd.Process = &os.Process{Pid: tt.pid}
				}
				return nil
			})
			if err == nil {
				err = g.Wait(t.Context(), nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			m.stored("group", 0)
			m.stored("udp/127.0.0.1:0", 0)
			m.mu.Lock()
			told := strings.Join(m.told, "\n")
			m.mu.Unlock()
			if !strings.Contains(told, tt.told) || strings.Contains(told, "MAINPID=0") {
				t.Errorf("told %q, want %q", told, tt.told)
			}
		})
	}
}

// TestStoreRenamed: a program that is started again, and has another name for a socket, finds it by its address, which it could not
// bind, and the store has it under the new name from then on.
func TestStoreRenamed(t *testing.T) {
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	g := start(t, Options{}).join(t, handoff.Config{})
	ln, err := g.ListenAs(t.Context(), "old", "tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ready(t, g)
	m.stored("old", 1)
	address, passed := ln.Addr().String(), pass(t, escape("old"), ln.(syscall.Conn))
	_ = g.Close()
	h := start(t, Options{}, passed).join(t, handoff.Config{})
	if ln, err = h.ListenAs(t.Context(), "new", "tcp", address, nil); err != nil {
		t.Fatal(err)
	}
	ready(t, h)
	m.stored("old", 0)
	m.stored("new", 1)
	_ = ln.Close()
	m.stored("new", 0)
}

// TestStorePath: the path of a Unix socket stays as long as the socket is in the store, so that clients find it while nobody serves. It is
// removed with what is not stored, and when the next process does not ask for it.
func TestStorePath(t *testing.T) {
	for _, tt := range []struct {
		name   string
		o      Options
		env    map[string]string
		closed bool // by the program
		stays  bool
	}{
		{name: "stored", stays: true},
		{name: "no store", o: Options{NoStore: true}},
		{name: "FileDescriptorStoreMax is 0", env: map[string]string{"FDSTORE": "0"}},
		{name: "closed by the program", closed: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newManager(t, filepath.Join(shortDir(t), "n"))
			path := filepath.Join(shortDir(t), "s")
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			g := start(t, tt.o).join(t, handoff.Config{})
			ln, err := g.Listen(t.Context(), "unix", path)
			if err != nil {
				t.Fatal(err)
			}
			pc, err := g.ListenPacket(t.Context(), "unixgram", path+"g")
			if err != nil {
				t.Fatal(err)
			}
			ready(t, g)
			passed := []*given{pass(t, escape("unix/"+path), ln.(syscall.Conn)), pass(t, escape("unixgram/"+path+"g"), pc.(syscall.Conn))}
			if tt.closed {
				_, _ = ln.Close(), pc.Close()
			}
			_ = g.Close()
			for _, path := range []string{path, path + "g"} {
				if _, err := os.Lstat(path); (err == nil) != tt.stays {
					t.Errorf("%s: %v, stays: %v", path, err, tt.stays)
				}
			}
			if !tt.stays {
				for _, d := range passed {
					_ = d.fd.Close()
				}
				return
			}
			h := start(t, Options{}, passed...).join(t, handoff.Config{})
			again, err := h.Listen(t.Context(), "unix", path)
			if err != nil {
				t.Fatal(err)
			}
			ready(t, h)
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			if c, err = again.Accept(); err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			if _, err := os.Lstat(path + "g"); err == nil {
				t.Error("the path of a socket that nobody asked for stays")
			}
			m.stored("unixgram/"+path+"g", 0)
		})
	}
}

// TestStoreOfPredecessor: what a successor owns that is not yet the main process, its predecessor has stored, if anything is.
func TestStoreOfPredecessor(t *testing.T) {
	t.Setenv("SEGUE_HANDOFF", "3:1:")
	newManager(t, filepath.Join(shortDir(t), "n"))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	o := hook.Socket{Name: "web", Conn: ln.(*net.TCPListener)}
	for _, tt := range []struct {
		name            string
		o               Options
		storeMax        string
		unknown, ofUnit bool
		keeps           bool
	}{
		{name: "stored", keeps: true},
		{name: "stored, as systemd says", storeMax: "16", keeps: true},
		{name: "not the generation's", unknown: true},
		{name: "of a socket unit", ofUnit: true},
		{name: "no store", o: Options{NoStore: true}},
		{name: "FileDescriptorStoreMax is 0", storeMax: "0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.storeMax != "" {
				t.Setenv("FDSTORE", tt.storeMax)
			}
			s := start(t, tt.o)
			if tt.ofUnit {
				s.got.fixed[cookieOf(t, ln)] = true
			}
			if !tt.unknown {
				s.opened(o)
			}
			s.goes(handoff.PhaseProbation, handoff.PhaseServing)
			if got := s.keeps(o); s.main || got != tt.keeps {
				t.Errorf("main: %v, keeps: %v, want %v", s.main, got, tt.keeps)
			}
		})
	}
}

// TestStoreFull: what does not fit into the store is closed by systemd, which tells nobody; FDSTORE says how much does.
func TestStoreFull(t *testing.T) {
	t.Setenv("FDSTORE", "1")
	m := newManager(t, filepath.Join(shortDir(t), "n"))
	m.mu.Lock()
	m.room = 1
	m.mu.Unlock()
	var log logged
	g := start(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}).join(t, handoff.Config{})
	one := listen(t, g, "127.0.0.1:0")
	ready(t, g)
	m.stored("group", 1)
	if strings.Contains(log.String(), "FileDescriptorStoreMax") {
		t.Errorf("warned:\n%s", log.String())
	}
	two := listen(t, g, one.Addr().String())
	m.stored("group", 1)
	if !strings.Contains(log.String(), "FileDescriptorStoreMax is less than there are sockets") {
		t.Errorf("not warned:\n%s", log.String())
	}
	_ = one.Close() // room for the other
	if got := m.stored("group", 1); !slices.Equal(got, []uint64{cookieOf(t, two)}) {
		t.Errorf("%d is stored, want %d", got, cookieOf(t, two))
	}
}
