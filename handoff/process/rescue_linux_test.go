package process_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/process"
	"github.com/segue-go/segue/listener"
)

// rescue takes from a process that is stopped.
func rescue(t *testing.T, old *child) handoff.Source {
	t.Helper()
	must(t, old.cmd.Process.Signal(unix.SIGSTOP))
	t.Cleanup(func() { _ = old.cmd.Process.Signal(unix.SIGCONT) })
	src, err := process.Rescue(bounded(t), handoff.Peer{PID: old.pid()})
	must(t, err)
	t.Cleanup(func() { src.Phase(handoff.PhaseStarting, handoff.PhaseStopped) })
	return src
}

// open asks a source for a socket, and says what it is. The descriptor is closed at the end.
func open(t *testing.T, src handoff.Source, network, address string) (*listener.FD, listener.Info) {
	t.Helper()
	fd, err := src.Open(bounded(t), "any name", network, address)
	if err != nil {
		t.Fatalf("%s %s: %v", network, address, err)
	}
	if fd == nil {
		return nil, listener.Info{}
	}
	t.Cleanup(func() { _ = fd.Close() })
	i, err := listener.Describe(fd)
	must(t, err)
	return fd, i
}

// As an ordinary user: TestRescueStopped of package integration.
func TestRescue(t *testing.T) {
	dir := workDir(t, nil)
	old := play(t, nil, "hold", "rendezvous", "tcp/:0", "reuseport:3:tcp/127.0.0.1:0", "udp/127.0.0.1:0",
		"unix/"+dir+"/s", "unix/@"+dir, "unixgram/"+dir+"/d", "unixpacket/"+dir+"/p")
	any := old.line("holds ")
	group := []string{old.line("holds "), old.line("holds "), old.line("holds ")}[0]
	udp := old.line("holds ")
	old.line("holds " + dir + "/p")
	src := rescue(t, old)
	_, port, err := net.SplitHostPort(any)
	must(t, err)
	cookies := map[uint64]bool{}
	for _, w := range []struct {
		network, address, want string
		times                  int
	}{
		{"tcp", ":" + port, any, 1},
		{"tcp", group, group, 3},
		{"udp", udp, udp, 1},
		{"unix", dir + "/../" + filepath.Base(dir) + "/s", dir + "/s", 1},
		{"unix", "@" + dir, "@" + dir, 1},
		{"unixgram", dir + "/d", dir + "/d", 1},
		{"unixpacket", dir + "/p", dir + "/p", 1}, // not every one is a rendezvous
	} {
		for range w.times {
			fd, i := open(t, src, w.network, w.address)
			if fd == nil || i.Network != w.network || i.Address != w.want || cookies[i.Cookie] {
				t.Errorf("%s %s: got %s %s, cookie %d", w.network, w.address, i.Network, i.Address, i.Cookie)
				continue
			}
			cookies[i.Cookie] = true
			p := src.UnixPath(fd)
			if isPath := filepath.IsAbs(w.want); isPath != (p != nil) || isPath && p.Path != w.want {
				t.Errorf("the path of %s %s: %v", w.network, w.address, p)
			}
		}
		if fd, i := open(t, src, w.network, w.address); fd != nil {
			t.Errorf("%s %s was given away once more: %v", w.network, w.address, i)
		}
	}
	for _, w := range [][2]string{{"", ""}, {"tcp", "127.0.0.1:0"}, {"unix", dir + "/other"}} {
		if fd, i := open(t, src, w[0], w[1]); fd != nil {
			t.Errorf("for %q: %v", w, i)
		}
	}
}

// A generation gets its sockets from the source, with what waits in their queues, and what it does not ask for is closed
// once it serves.
func TestRescueServes(t *testing.T) {
	old := play(t, nil, "hold", "rendezvous", "tcp/127.0.0.1:0", "tcp/127.0.0.1:0")
	wanted, unwanted := old.line("holds "), old.line("holds ")
	src := rescue(t, old)
	c, err := net.DialTimeout("tcp", wanted, patience) // nobody accepts yet
	must(t, err)
	defer c.Close()
	gen := join(t, src)
	ln, err := gen.Listen(bounded(t), "tcp", wanted)
	must(t, err)
	must(t, old.cmd.Process.Kill())
	_ = old.wait() // it was killed
	if c, err := net.DialTimeout("tcp", unwanted, patience); err != nil {
		t.Errorf("before Ready: %v", err)
	} else {
		_ = c.Close()
	}
	must(t, gen.Ready(bounded(t)))
	s, err := ln.Accept()
	must(t, err)
	if s.RemoteAddr().String() != c.LocalAddr().String() {
		t.Errorf("accepted %v, want %v", s.RemoteAddr(), c.LocalAddr())
	}
	_ = s.Close()
	answers(t, ln)
	if c, err := net.DialTimeout("tcp", unwanted, patience); !errors.Is(err, unix.ECONNREFUSED) {
		if err == nil {
			_ = c.Close()
		}
		t.Errorf("a socket that nobody asked for, after Ready: %v", err)
	}
	if fd, i := open(t, src, "tcp", unwanted); fd != nil {
		t.Errorf("after Ready: %v", i)
	}
}

// The path of a Unix socket is removed if it is still that socket's, and by no one but who closes it for good.
func TestRescueUnixPath(t *testing.T) {
	for _, c := range []struct {
		name    string
		foreign bool
	}{{"own", false}, {"replaced", true}} {
		t.Run(c.name, func(t *testing.T) {
			path := workDir(t, nil) + "/s"
			old := play(t, nil, "hold", "rendezvous", "unix/"+path)
			old.line("holds ")
			if c.foreign {
				must(t, os.Remove(path))
				ln, err := net.Listen("unix", path)
				must(t, err)
				defer ln.Close()
			}
			gen := join(t, rescue(t, old))
			_, err := gen.Listen(bounded(t), "unix", path)
			must(t, err)
			must(t, gen.Ready(bounded(t)))
			if _, err := os.Lstat(path); err != nil {
				t.Errorf("while it serves: %v", err)
			}
			must(t, gen.Close())
			if _, err := os.Lstat(path); (err == nil) != c.foreign {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

// A path may be relative to the directory in which the incumbent is. It is no other file of that name.
func TestRescueRelativePath(t *testing.T) {
	dir, other := workDir(t, nil), workDir(t, nil)
	cmd := exec.Command("/proc/self/exe", "rendezvous", "unix/app.sock")
	cmd.Env, cmd.Dir = append(os.Environ(), envRole+"=hold"), dir
	old := start(t, nil, cmd)
	old.line("holds ")
	src := rescue(t, old)
	t.Chdir(other)
	for _, path := range []string{"app.sock", other + "/app.sock"} {
		if fd, i := open(t, src, "unix", path); fd != nil {
			t.Errorf("%s is %v", path, i)
		}
	}
	fd, _ := open(t, src, "unix", dir+"/app.sock")
	if fd == nil {
		t.Fatal("not found by its real path")
	}
	if p := src.UnixPath(fd); p == nil || p.Path != dir+"/app.sock" {
		t.Errorf("its file is %v", p)
	}
}

// Who stops before it serves leaves nothing open: package leak looks.
func TestRescueStops(t *testing.T) {
	old := play(t, nil, "hold", "rendezvous", "tcp/127.0.0.1:0")
	addr := old.line("holds ")
	gen := join(t, rescue(t, old))
	must(t, gen.Close())
	must(t, old.cmd.Process.Kill())
	_ = old.wait()
	if c, err := net.DialTimeout("tcp", addr, patience); err == nil {
		_ = c.Close()
		t.Error("somebody still listens")
	}
}

// An address in the way of a socket that is held is told, rather than what bind would say.
func TestRescueClash(t *testing.T) {
	old := play(t, nil, "hold", "rendezvous", "tcp/127.0.0.1:0")
	addr := old.line("holds ")
	src := rescue(t, old)
	_, port, err := net.SplitHostPort(addr)
	must(t, err)
	var none *process.NoSocketError
	if _, err := src.Open(bounded(t), "", "tcp", ":"+port); !errors.As(err, &none) || !strings.Contains(err.Error(), addr) {
		t.Errorf("for :%s, while there is %s: %v", port, addr, err)
	}
	if _, err := src.Open(bounded(t), "", "sctp", ":1"); err == nil {
		t.Error("a network that nobody knows: no error")
	}
}

// The rendezvous stays behind. The incumbent is this very process, which may take from itself.
func TestRescueRendezvous(t *testing.T) {
	path := workDir(t, nil) + "/segue.sock"
	gen, err := handoff.Join(bounded(t), handoff.Config{Path: path})
	must(t, err)
	defer gen.Close()
	ln, err := gen.Listen(bounded(t), "tcp", "127.0.0.1:0")
	must(t, err)
	must(t, gen.Ready(bounded(t)))
	src, err := process.Rescue(bounded(t), handoff.Peer{PID: os.Getpid()})
	must(t, err)
	defer src.Phase(handoff.PhaseStarting, handoff.PhaseStopped)
	if fd, i := open(t, src, "unixpacket", path); fd != nil {
		t.Errorf("got the rendezvous: %v", i)
	}
	fd, i := open(t, src, "tcp", ln.Addr().String())
	of, err := listener.Describe(ln.(syscall.Conn))
	must(t, err)
	if fd == nil || !i.Same(of) {
		t.Errorf("got %v, want %v", i, of)
	}
}

// What only a child of the incumbent has is the child's.
func TestRescueChildren(t *testing.T) {
	old := play(t, nil, "master", "rendezvous", "tcp/127.0.0.1:0")
	addr := old.line("holds ")
	if fd, i := open(t, rescue(t, old), "tcp", addr); fd != nil {
		t.Errorf("of a child: %v", i)
	}
}

// Who has no rendezvous is no incumbent: another program that happens to listen at the path, for example. handoff kills
// nobody whose rescue fails.
func TestRescueOther(t *testing.T) {
	old := play(t, nil, "hold", "tcp/127.0.0.1:0", "unixpacket/@"+t.Name())
	old.line("holds ")
	if _, err := process.Rescue(bounded(t), handoff.Peer{PID: old.pid()}); !errors.Is(err, process.ErrNoRendezvous) {
		t.Errorf("got %v", err)
	}
}

func TestRescueErrors(t *testing.T) {
	gone := play(t, nil, "exit")
	_ = gone.wait()
	for _, tt := range []struct {
		name string
		pid  int
		want error
	}{
		{"gone", gone.pid(), process.ErrGone},
		{"not in this PID namespace", 0, process.ErrRefused},
	} {
		if _, err := process.Rescue(bounded(t), handoff.Peer{PID: tt.pid}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	old := play(t, nil, "hold", "rendezvous", "tcp/127.0.0.1:0")
	old.line("holds ")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrClosedPipe)
	if _, err := process.Rescue(ctx, handoff.Peer{PID: old.pid()}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// All or none: without room for the last one, those before are closed.
func TestRescueNoDescriptors(t *testing.T) {
	args := slices.Repeat([]string{"tcp/127.0.0.1:0"}, 40)
	old := play(t, nil, "hold", append([]string{"rendezvous"}, args...)...)
	for range args {
		old.line("holds ")
	}
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	names, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(len(names)) + 20, Max: limit.Max}))
	defer func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
	src, err := process.Rescue(bounded(t), handoff.Peer{PID: old.pid()})
	if !errors.Is(err, unix.EMFILE) {
		t.Errorf("got %v, %v, want EMFILE", src, err)
	}
}
