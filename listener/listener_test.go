package listener

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAccept(t *testing.T) {
	for name, at := range where(t) {
		t.Run(name, func(t *testing.T) {
			l := listen(t, at[0], at[1], Options{})
			addr := l.Addr()
			first := accept(t, l)
			l.gate.queued(t, "Accept")
			client := dial(t, addr)
			must(t, l.Open())
			server := within(t, "Accept", first)
			must(t, server.err)
			switch server.conn.(type) {
			case *net.TCPConn, *net.UnixConn:
			default:
				t.Errorf("Accept returned a %T", server.conn)
			}
			if _, err := client.Write([]byte("hello")); err != nil {
				t.Error(err)
			}
			must(t, server.conn.SetReadDeadline(time.Now().Add(patience)))
			b := make([]byte, 5)
			if _, err := io.ReadFull(server.conn, b); err != nil || string(b) != "hello" {
				t.Errorf("read %q, %v", b, err)
			}

			second := accept(t, l)
			must(t, l.Close())
			checkOpError(t, within(t, "Accept after Close", second).err, "accept", addr, net.ErrClosed)
			_, err := l.Accept()
			checkOpError(t, err, "accept", addr, net.ErrClosed)
			checkOpError(t, l.Close(), "close", addr, net.ErrClosed)
			checkOpError(t, l.Discard(), "close", addr, net.ErrClosed)
			checkOpError(t, l.SetDeadline(time.Now()), "set", addr, net.ErrClosed)
			checkOpError(t, l.Pause(), "pause", addr, net.ErrClosed)
			checkOpError(t, l.Park(), "park", addr, net.ErrClosed)
			checkOpError(t, l.Open(), "open", addr, net.ErrClosed)
			checkOpError(t, l.Arm(), "arm", addr, net.ErrClosed)
			_, err = l.Queued()
			checkOpError(t, err, "accept", addr, net.ErrClosed)
			_, err = l.SyscallConn()
			checkOpError(t, err, "raw-control", addr, net.ErrClosed)
			if l.Addr() != addr {
				t.Errorf("the address has become %v", l.Addr())
			}
		})
	}
}

// checkOpError wants the shape that errors of package net have, once and not twice.
func checkOpError(t *testing.T, err error, op string, addr net.Addr, want error) {
	t.Helper()
	var oe *net.OpError
	if !errors.As(err, &oe) || !errors.Is(err, want) {
		t.Errorf("%s: %v, want a *net.OpError of %v", op, err, want)
		return
	}
	if oe.Op != op || oe.Addr.String() != addr.String() || !strings.HasPrefix(oe.Net, addr.Network()) { // tcp4 is tcp
		t.Errorf("%s: %#v, want one of %v", op, oe, addr)
	}
	if errors.As(oe.Err, &oe) {
		t.Errorf("%s: wrapped twice: %v", op, err)
	}
}

func TestZeroListener(t *testing.T) {
	var l Listener
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := l.SyscallConn(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if l.Addr() != nil || l.UnlinkOnClose() {
		t.Error("it has an address, or a file")
	}
}

type foreign struct{ net.Listener }

func TestNewRefuses(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer inner.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	for name, tt := range map[string]struct {
		l       net.Listener
		wantErr error
	}{
		"nil":       {nil, ErrSocketType},
		"typed nil": {(*net.TCPListener)(nil), ErrSocketType},
		"wrapped":   {foreign{inner}, ErrSocketType},
		"closed":    {closed, net.ErrClosed},
	} {
		if _, err := New(tt.l, Options{}); !errors.Is(err, tt.wantErr) {
			t.Errorf("%s: %v, want %v", name, err, tt.wantErr)
		}
	}
}

// What Queued finds is exactly what the blocked calls of Accept did not take.
func TestPausedAcceptTakesNothing(t *testing.T) {
	const acceptors, clients = 4, 20
	for name, at := range where(t) {
		t.Run(name, func(t *testing.T) {
			l := listen(t, at[0], at[1], Options{})
			must(t, l.Open())
			var calls []<-chan accepted
			for range acceptors {
				calls = append(calls, accept(t, l))
			}
			eventually(t, "all are in accept", func() bool { return l.gate.state.Load()&inFlight == acceptors })
			must(t, l.Pause())
			l.gate.queued(t, "Accept")
			for range clients {
				dial(t, l.Addr())
			}
			for range clients {
				var c net.Conn
				eventually(t, "one of the clients is in the queue", func() bool { // the end of TCP's handshake may be on its way
					var err error
					if c, err = l.Queued(); err != nil && !errors.Is(err, ErrEmpty) {
						t.Fatal(err)
					}
					return err == nil
				})
				must(t, c.Close())
			}
			if _, err := l.Queued(); !errors.Is(err, ErrEmpty) {
				t.Errorf("Queued, once more: %v", err)
			}
			must(t, l.Open())
			if _, err := l.Queued(); !errors.Is(err, ErrNotPaused) {
				t.Errorf("Queued while open: %v", err)
			}
			for range calls {
				dial(t, l.Addr())
			}
			for _, call := range calls {
				must(t, within(t, "Accept", call).err)
			}
		})
	}
}

func TestDeadlines(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0", Options{})
	addr := l.Addr()
	for _, state := range []struct {
		name string
		get  func() error
	}{{"paused", l.Pause}, {"open", l.Open}, {"paused again", l.Pause}} {
		must(t, state.get())
		must(t, l.SetDeadline(time.Time{}))
		call := accept(t, nopClose{l})
		must(t, l.SetDeadline(time.Now().Add(10*time.Millisecond)))
		err := within(t, state.name, call).err
		checkOpError(t, err, "accept", addr, os.ErrDeadlineExceeded)
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("%s: not a timeout: %v", state.name, err)
		}
	}
	must(t, l.Open())
	if _, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the deadline did not survive: %v", err)
	}
	must(t, l.SetDeadline(time.Time{}))
	dial(t, addr)
	must(t, within(t, "Accept without deadline", accept(t, l)).err)
}

// nopClose keeps the clean-up of accept from closing a listener that the test still needs.
type nopClose struct{ net.Listener }

func (nopClose) Close() error { return nil }

func TestUnlink(t *testing.T) {
	for name, tt := range map[string]struct {
		recorded, off, discard bool
		gone                   bool
	}{
		"close":             {recorded: true, gone: true},
		"discard":           {recorded: true, discard: true},
		"close, turned off": {recorded: true, off: true},
		"close, not ours":   {},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(socketDir(t), "s")
			inner, err := net.Listen("unix", path)
			must(t, err)
			var o Options
			if tt.recorded {
				o.Unlink, err = StatUnixPath(path)
				if errors.Is(err, errors.ErrUnsupported) {
					_ = inner.Close()
					t.Skip(err)
				}
				must(t, err)
			}
			l, err := New(inner, o)
			must(t, err)
			if l.UnlinkOnClose() != tt.recorded {
				t.Errorf("UnlinkOnClose is %v at first", l.UnlinkOnClose())
			}
			if tt.off {
				l.SetUnlinkOnClose(false)
			}
			if tt.discard {
				must(t, l.Discard())
			} else {
				must(t, l.Close())
			}
			if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) != tt.gone {
				t.Errorf("lstat: %v, want it gone: %v", err, tt.gone)
			}
		})
	}
}
