package process_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/process"
)

// join makes a generation with one source.
func join(t *testing.T, src handoff.Source) *handoff.Generation {
	t.Helper()
	gen, err := handoff.Join(bounded(t), handoff.Config{Sources: []handoff.Source{src}})
	must(t, err)
	t.Cleanup(func() { _ = gen.Close() })
	return gen
}

// answers accepts one connection, and makes sure that it is the one that is made.
func answers(t *testing.T, ln net.Listener) {
	t.Helper()
	addr := ln.Addr()
	c, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	must(t, err)
	defer c.Close()
	s, err := ln.Accept()
	must(t, err)
	defer s.Close()
	_, err = io.WriteString(s, "hello")
	must(t, err)
	b := make([]byte, 5)
	must(t, c.SetReadDeadline(time.Now().Add(patience)))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Errorf("%s: read %q, %v", addr, b, err)
	}
}

// TestSource takes sockets of several kinds, and tells the other process only once they are this generation's.
func TestSource(t *testing.T) {
	dir := workDir(t, nil)
	old := play(t, nil, "master", "reuseport:2:tcp/127.0.0.1:0", "unix/"+dir+"/s", "udp/127.0.0.1:0")
	group, _, path, udp := old.line("holds "), old.line("holds "), old.line("holds "), old.line("holds ")
	src := process.Sockets(old.pid(), process.Options{Signal: syscall.SIGTERM, Idle: patience})
	defer src.Close()
	gen := join(t, src)
	var lns []net.Listener
	for _, l := range [][2]string{{"tcp", group}, {"tcp4", group}, {"unix", path}} {
		ln, err := gen.Listen(bounded(t), l[0], l[1])
		must(t, err)
		lns = append(lns, ln)
	}
	pc, err := gen.ListenPacket(bounded(t), "udp", udp)
	must(t, err)
	// The process has no socket there: a fresh one.
	fresh, err := gen.Listen(bounded(t), "tcp", "127.0.0.1:0")
	must(t, err)
	lns = append(lns, fresh)
	// The group is used up, and has the port, which a socket without SO_REUSEPORT cannot share.
	if _, err := gen.Listen(bounded(t), "tcp", group); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a third time: %v", err)
	}
	// Another address with this port is a mistake more likely than a wish.
	var none *process.NoSocketError
	_, port, err := net.SplitHostPort(group)
	must(t, err)
	if _, err := gen.Listen(bounded(t), "tcp", ":"+port); !errors.As(err, &none) || none.PID != old.pid() || len(none.Have) != 4 {
		t.Errorf("with another address: %v", err)
	}
	for range 3 { // nobody was told yet
		if err := old.cmd.Process.Signal(syscall.Signal(0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // long enough to find a signal that is sent too early now and then
	}
	must(t, gen.Ready(bounded(t)))
	if err := old.wait(); err == nil || old.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("the process ended with %v", err)
	}
	// The end of its standard input, which goes with it, ends its child.
	answers(t, lns[2])
	answers(t, lns[3])
	c, err := net.Dial("udp", udp)
	must(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "packet")
	must(t, err)
	must(t, pc.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 10)
	if n, _, err := pc.ReadFrom(b); err != nil || string(b[:n]) != "packet" {
		t.Errorf("read %q, %v", b, err)
	}
	// The Source is done, and has no more.
	if fd, err := src.Open(bounded(t), "", "udp", udp); fd != nil || err != nil {
		t.Errorf("afterwards: %v, %v", fd, err)
	}
	must(t, src.Close())
}

// TestSourceUndone takes a socket, and then lets it be.
func TestSourceUndone(t *testing.T) {
	old := play(t, nil, "hold", "tcp/127.0.0.1:0")
	addr := old.line("holds ")
	src := process.Sockets(old.pid(), process.Options{Signal: syscall.SIGKILL})
	gen := join(t, src)
	_, err := gen.Listen(bounded(t), "tcp", addr)
	must(t, err)
	must(t, gen.Close())
	must(t, src.Close())
	c, err := net.Dial("tcp", addr)
	must(t, err)
	_ = c.Close()
	must(t, old.in.Close())
	if err := old.wait(); err != nil {
		t.Errorf("the process was told: %v", err)
	}
}

// TestSourceLeaves leaves the process running, and takes more of its sockets later.
func TestSourceLeaves(t *testing.T) {
	old := play(t, nil, "hold", "tcp/127.0.0.1:0", "tcp/127.0.0.1:0")
	first, second := old.line("holds "), old.line("holds ")
	src := process.Sockets(old.pid(), process.Options{})
	defer src.Close()
	gen := join(t, src)
	ln, err := gen.Listen(bounded(t), "tcp", first)
	must(t, err)
	must(t, gen.Ready(bounded(t)))
	answers(t, ln)
	ln, err = gen.Listen(bounded(t), "tcp", second)
	must(t, err)
	answers(t, ln)
	must(t, old.in.Close())
	if err := old.wait(); err != nil {
		t.Errorf("the process was told: %v", err)
	}
	answers(t, ln)
}

// TestSourceGone asks for what is not there any more.
func TestSourceGone(t *testing.T) {
	old := play(t, nil, "hold", "tcp/127.0.0.1:0")
	addr := old.line("holds ")
	src := process.Sockets(old.pid(), process.Options{})
	defer src.Close()
	maybe := process.Sockets(old.pid(), process.Options{MayBeGone: true, Signal: syscall.SIGTERM})
	defer maybe.Close()
	must(t, old.in.Close())
	must(t, old.wait())
	gen := join(t, src)
	if _, err := gen.Listen(bounded(t), "tcp", addr); !errors.Is(err, process.ErrGone) || !strings.Contains(err.Error(), "process") {
		t.Errorf("listen: %v", err)
	}
	must(t, gen.Close())
	gen = join(t, maybe)
	ln, err := gen.Listen(bounded(t), "tcp", addr)
	must(t, err)
	must(t, gen.Ready(bounded(t)))
	answers(t, ln)
	must(t, maybe.Close())
}

// TestSourceClosed tells nothing after Close.
func TestSourceClosed(t *testing.T) {
	old := play(t, nil, "hold", "tcp/127.0.0.1:0")
	addr := old.line("holds ")
	src := process.Sockets(old.pid(), process.Options{Signal: syscall.SIGKILL})
	gen := join(t, src)
	ln, err := gen.Listen(bounded(t), "tcp", addr)
	must(t, err)
	must(t, src.Close())
	must(t, gen.Ready(bounded(t)))
	answers(t, ln)
	must(t, old.in.Close())
	if err := old.wait(); err != nil {
		t.Errorf("the process was told: %v", err)
	}
}
