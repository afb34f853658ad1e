package fdpass

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/segue-go/segue/internal/kernel"
	"golang.org/x/sys/unix"
)

func TestSendRecv(t *testing.T) {
	for _, n := range []int{0, 1, 2, MaxFDs} {
		eachType(t, func(t *testing.T, a, b *net.UnixConn) {
			fds := events(t, n)
			noNewFDs(t, func() {
				if err := Send(a, []byte("hello"), fds...); err != nil {
					t.Fatal(err)
				}
				m, err := Recv(b, make([]byte, 100))
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				if string(m.Payload) != "hello" || len(m.FDs) != n || m.Cred != nil || m.PidFD != nil {
					t.Fatalf("got %+v, want hello and %d descriptors", m, n)
				}
				for i, fd := range m.FDs {
					if _, fdFlags := flags(t, fd); fdFlags&unix.FD_CLOEXEC == 0 {
						t.Errorf("descriptor %d is not close-on-exec", i)
					}
					buf := make([]byte, 8)
					control(t, fd, func(n int) {
						if _, err := unix.Read(n, buf); err != nil {
							t.Fatal(err)
						}
					})
					if got := binary.NativeEndian.Uint64(buf); got != uint64(i+1) {
						t.Errorf("descriptor %d is the one that was sent as number %d", i, got-1)
					}
				}
			})
		})
	}
}

func TestStatusFlagsUntouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	appendOnly, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer appendOnly.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conns := append(events(t, 1), appendOnly, ln.(*net.TCPListener))
	want := make([]int, len(conns))
	for i, c := range conns {
		want[i], _ = flags(t, c)
	}
	if want[0]&unix.O_NONBLOCK != 0 || want[1]&unix.O_APPEND == 0 || want[2]&unix.O_NONBLOCK == 0 {
		t.Fatalf("flags %#x do not test anything", want)
	}
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		if err := Send(a, []byte("x"), conns...); err != nil {
			t.Fatal(err)
		}
		m, err := Recv(b, make([]byte, 1))
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		for i := range conns {
			sent, _ := flags(t, conns[i])
			got, fdFlags := flags(t, m.FDs[i])
			if sent != want[i] || got != want[i] || fdFlags&unix.FD_CLOEXEC == 0 {
				t.Errorf("descriptor %d: flags %#x, received %#x (fd flags %#x), want %#x and close-on-exec", i, sent, got, fdFlags, want[i])
			}
		}
	})
}

func TestRecvDeadline(t *testing.T) {
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		buf := make([]byte, 10)
		if _, err := TryRecv(b, buf); !errors.Is(err, ErrWouldBlock) {
			t.Errorf("nothing queued: got %v", err)
		}
		if err := b.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := Send(a, []byte("x"), events(t, 1)...); err != nil {
			t.Fatal(err)
		}
		if m, err := Recv(b, buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, %v", m, err)
		}
		m, err := TryRecv(b, buf)
		if err != nil || len(m.FDs) != 1 {
			t.Errorf("after the deadline: got %v, %v", m, err)
		}
		m.Close()
		if _, err := TryRecv(b, nil); !errors.Is(err, unix.EINVAL) {
			t.Errorf("no buffer: got %v", err)
		}
		a.Close()
		if _, err := TryRecv(b, buf); err != io.EOF {
			t.Errorf("at the end: got %v", err)
		}
	})
}

// Recv waits for what comes later.
func TestRecvWaits(t *testing.T) {
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		got := make(chan error, 1)
		go func() {
			m, err := Recv(b, make([]byte, 10))
			m.Close()
			got <- err
		}()
		if err := Send(a, []byte("x"), events(t, 3)...); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}

func TestEOF(t *testing.T) {
	for _, cred := range []bool{false, true} {
		eachType(t, func(t *testing.T, a, b *net.UnixConn) {
			if err := PassCred(b, cred); err != nil && !errors.Is(err, errors.ErrUnsupported) { // before Linux 6.5
				t.Fatal(err)
			}
			a.Close()
			noNewFDs(t, func() {
				for range 2 {
					if m, err := Recv(b, make([]byte, 10)); err != io.EOF {
						t.Errorf("got %+v, %v", m, err)
					}
				}
			})
		})
	}
}

// If the other side has closed with messages unread, the kernel reports ECONNRESET once: on SOCK_SEQPACKET before what is
// queued, on SOCK_STREAM after it. Nothing queued is lost.
func TestResetLosesNothing(t *testing.T) {
	for _, st := range sockTypes {
		for _, recv := range []func(*net.UnixConn, []byte) (*Message, error){Recv, TryRecv} {
			a, b := pair(t, st.typ)
			if err := Send(a, []byte("last words"), events(t, 1)...); err != nil {
				t.Fatal(err)
			}
			if err := Send(b, []byte("never read")); err != nil {
				t.Fatal(err)
			}
			a.Close()
			steps := []string{"reset", "message", "EOF", "EOF"}
			if st.typ == unix.SOCK_STREAM {
				steps = []string{"message", "reset", "EOF", "EOF"}
			}
			for i, want := range steps {
				m, err := recv(b, make([]byte, 20))
				ok := false
				switch want {
				case "reset":
					ok = errors.Is(err, unix.ECONNRESET)
				case "message":
					ok = err == nil && string(m.Payload) == "last words" && len(m.FDs) == 1
				case "EOF":
					ok = err == io.EOF
				}
				if !ok {
					t.Errorf("%s, step %d: got %+v, %v; want %s", st.name, i, m, err, want)
				}
				m.Close()
			}
		}
	}
}

func TestTruncatedPayload(t *testing.T) {
	a, b := pair(t, unix.SOCK_SEQPACKET)
	if err := PassCred(b, true); err != nil && !errors.Is(err, errors.ErrUnsupported) { // before Linux 6.5
		t.Fatal(err)
	}
	fds := events(t, 5)
	noNewFDs(t, func() {
		for _, recv := range []func(*net.UnixConn, []byte) (*Message, error){Recv, TryRecv} {
			if err := Send(a, []byte("eleven bytes"), fds...); err != nil {
				t.Fatal(err)
			}
			if m, err := recv(b, make([]byte, 10)); !errors.Is(err, ErrTruncated) || m != nil {
				t.Errorf("got %+v, %v", m, err)
			}
		}
		if err := Send(a, []byte("fine"), fds...); err != nil {
			t.Fatal(err)
		}
		m, err := Recv(b, make([]byte, 10))
		if err != nil {
			t.Fatalf("the next message is lost: %v", err)
		}
		m.Close()
	})
}

func TestTruncatedControl(t *testing.T) {
	kernel.Need(t, kernel.PassPidFD)
	full := unix.CmsgSpace(unix.SizeofUcred) + unix.CmsgSpace(5*4) + unix.CmsgSpace(4)
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		if err := PassCred(b, true); err != nil && !errors.Is(err, errors.ErrUnsupported) { // before Linux 6.5
			t.Fatal(err)
		}
		fds := events(t, 5)
		for space := 1; space <= full; space++ {
			noNewFDs(t, func() {
				if err := Send(a, []byte("x"), fds...); err != nil {
					t.Fatal(err)
				}
				control(t, b, func(n int) {
					m, err := recvControl(n, make([]byte, 10), make([]byte, space))
					defer func() { m.Close() }() // nil is fine
					// Some of the last 8 bytes are padding, which the kernel can do without.
					if err == nil && (space < full-4 || len(m.FDs) != 5 || m.Cred == nil || m.PidFD == nil) {
						t.Errorf("%d bytes of control data: got %+v, want an error", space, m)
					}
					if err != nil && (space == full || !errors.Is(err, ErrTruncated)) {
						t.Errorf("%d bytes of control data: %v", space, err)
					}
				})
			})
		}
	})
}

func TestDescriptorLimit(t *testing.T) {
	passes, err := kernel.PassPidFD.Has()
	if err != nil {
		t.Fatal(err)
	}
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		fds := events(t, 3)
		for _, cred := range []bool{false, true} {
			if err := PassCred(b, cred); err != nil && !errors.Is(err, errors.ErrUnsupported) { // before Linux 6.5
				t.Fatal(err)
			}
			need := len(fds)
			if cred && passes {
				need++ // the pidfd
			}
			for free := range need + 1 {
				noNewFDs(t, func() {
					if err := Send(a, []byte("x"), fds...); err != nil {
						t.Fatal(err)
					}
					restore := onlyFree(t, free)
					m, err := Recv(b, make([]byte, 10))
					restore()
					defer m.Close()
					if free < len(fds) && (m == nil || string(m.Payload) != "x" || len(m.FDs) > 0) {
						t.Errorf("room for %d of %d: got %+v, want the payload alone", free, need, m)
					}
					if free < need && !errors.Is(err, ErrTruncated) || free == need && err != nil {
						t.Errorf("credentials %v, room for %d of %d: got %v", cred, free, need, err)
					}
				})
			}
		}
	})
}

// What C programs do: descriptors beside no byte at all.
func TestDescriptorsWithoutPayload(t *testing.T) {
	a, b := pair(t, unix.SOCK_SEQPACKET)
	one := events(t, 1)
	noNewFDs(t, func() {
		control(t, one[0], func(fd int) {
			control(t, a, func(sock int) {
				oob := unix.UnixRights(fd)
				hdr := unix.Msghdr{Control: &oob[0]}
				hdr.SetControllen(len(oob))
				if err := rawSendmsg(sock, &hdr); err != nil {
					t.Fatal(err)
				}
			})
		})
		if m, err := Recv(b, make([]byte, 10)); !errors.Is(err, ErrTruncated) {
			t.Errorf("got %+v, %v", m, err)
		}
	})
}

// 19,000 sockets in one handoff are 75 messages, not 19,000 allocations.
func TestRecvAllocations(t *testing.T) {
	a, b := pair(t, unix.SOCK_SEQPACKET)
	fds := events(t, MaxFDs)
	const runs = 2
	buf := make([]byte, 10)
	allocs := func(n int) float64 {
		for range runs + 1 { // the first warms up
			if err := Send(a, []byte("x"), fds[:n]...); err != nil {
				t.Fatal(err)
			}
		}
		return testing.AllocsPerRun(runs, func() {
			m, err := Recv(b, buf)
			if err != nil {
				t.Fatal(err)
			}
			m.Close()
		})
	}
	if one, many := allocs(1), allocs(MaxFDs); many > one+2 {
		t.Errorf("%v allocations for one descriptor, %v for %d", one, many, MaxFDs)
	}
}

func TestMessageClose(t *testing.T) {
	var none *Message
	none.Close()
	a, b := pair(t, unix.SOCK_SEQPACKET)
	if err := Send(a, []byte("x"), events(t, 2)...); err != nil {
		t.Fatal(err)
	}
	m, err := Recv(b, make([]byte, 10))
	if err != nil {
		t.Fatal(err)
	}
	kept := m.FDs[1]
	m.FDs[1] = nil
	m.Close()
	m.Close()
	if err := kept.Control(func(uintptr) {}); err != nil {
		t.Errorf("the descriptor taken out was closed: %v", err)
	}
	if err := kept.Close(); err != nil {
		t.Error(err)
	}
}
