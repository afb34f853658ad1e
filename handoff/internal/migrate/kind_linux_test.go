package migrate

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/listener"
)

// TestKinds: what is no connection is refused, and one that is idle costs no system call of its own.
func TestKinds(t *testing.T) {
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	client, server := connect(t, tcp)
	talking, readable := connect(t, tcp)
	if _, err := talking.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := unixPoll(readable, unix.POLLIN); err != nil {
		t.Fatal(err)
	}
	resetting, reset := connect(t, tcp)
	if err := errors.Join(resetting.SetLinger(0), resetting.Close()); err != nil {
		t.Fatal(err)
	}
	if err := unixPoll(reset, unix.POLLHUP); err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	file, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unixConn, other := listener.NewFD(pair[0]), listener.NewFD(pair[1])
	defer unixConn.Close()
	defer other.Close()
	n, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	event := listener.NewFD(n)
	defer event.Close()
	for _, x := range []struct {
		what        string
		conn        syscall.Conn
		asked, good bool
	}{
		{"an idle TCP connection", server, false, true},
		{"its client's end", client, false, true},
		{"a TCP connection with something to read", readable, true, true},
		{"a TCP connection that was reset", reset, true, true},
		{"a Unix connection", unixConn, true, true},
		{"a listener", tcp, true, false},
		{"a packet socket", udp, true, false},
		{"a pipe's end for reading", r, true, false},
		{"an eventfd", event, true, false},
		{"a file", file, true, false},
		{"a pipe's end for writing", w, false, true}, // listener.ConnFromFD refuses it
	} {
		fd, err := listener.Dup(x.conn)
		if err != nil {
			t.Fatal(err)
		}
		asked, err := suspects([]*listener.FD{fd})
		if err != nil || (len(asked) == 1) != x.asked {
			t.Errorf("%s: asked %v, want %t (%v)", x.what, asked, x.asked, err)
		}
		if err := checkConns([]*listener.FD{fd}); (err == nil) != x.good || err != nil && !errors.Is(err, link.ErrProtocol) {
			t.Errorf("%s: %v", x.what, err)
		}
		_ = fd.Close()
	}
}

// TestStrangeGift: what was let in and is no connection is an error of Take once, and not for ever.
func TestStrangeGift(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd, err := listener.Dup(w)
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	var s gifts
	s.put(&gift{kept: &s, name: "x", fd: fd})
	if _, _, err := s.take(context.Background(), "x"); !errors.Is(err, listener.ErrNotSocket) {
		t.Errorf("a pipe: %v", err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("it is still open: %d, %v", n, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := s.take(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("it comes back: %v", err)
	}
}

// connect makes a connection.
func connect(t *testing.T, l *net.TCPListener) (client, server *net.TCPConn) {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return c.(*net.TCPConn), s
}

// unixPoll waits for an event, which comes.
func unixPoll(c *net.TCPConn, event int16) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	inner := error(unix.EINTR)
	err = raw.Control(func(n uintptr) {
		for inner == unix.EINTR {
			_, inner = unix.Poll([]unix.PollFd{{Fd: int32(n), Events: event}}, 10_000)
		}
	})
	return errors.Join(err, inner)
}
