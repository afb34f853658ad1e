package fdpass

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/internal/kernel"
	"github.com/segue-go/segue/listener"
)

// sockets returns n descriptors that are told apart by their inodes.
func sockets(t *testing.T, n int) []*listener.FD {
	t.Helper()
	fds := make([]*listener.FD, n)
	for i := range fds {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds[i] = listener.NewFD(fd)
	}
	t.Cleanup(func() {
		for _, fd := range fds {
			fd.Close()
		}
	})
	return fds
}

func inodes(t *testing.T, fds []*listener.FD) []uint64 {
	t.Helper()
	inos := make([]uint64, len(fds))
	for i, fd := range fds {
		control(t, fd, func(n int) {
			var st unix.Stat_t
			if err := unix.Fstat(n, &st); err != nil {
				t.Fatal(err)
			}
			inos[i] = st.Ino
		})
	}
	return inos
}

// text is n bytes that no shorter text ends with.
func text(n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.BigEndian.AppendUint64(b, uint64(len(b)))
	}
	return b[:n]
}

func TestSendAll(t *testing.T) {
	all := sockets(t, 1100)
	want := inodes(t, all)
	payloads := map[string][]byte{
		"none": nil, "one byte": {0}, "short": text(40), "magic": []byte(magic), "a header": header{fds: 3}.append(nil),
		"one block": text(maxBlock), "more": text(maxBlock + 1), "long": text(600_000),
	}
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		buf := make([]byte, 600_000)
		noNewFDs(t, func() {
			for name, payload := range payloads {
				for _, n := range []int{0, 1, MaxFDs - 1, MaxFDs, MaxFDs + 1, 2 * MaxFDs, 1100} {
					func() {
						sent := make(chan error, 1)
						go func() { sent <- errors.Join(SendAll(a, payload, all[:n]), Send(a, []byte("next"), all[0])) }()
						m, err := RecvAll(b, buf[:max(len(payload), 1)], n)
						if err != nil {
							t.Fatalf("%s, %d descriptors: %v", name, n, err)
						}
						defer m.Close()
						if !bytes.Equal(m.Payload, payload) || !slices.Equal(inodes(t, m.FDs), want[:n]) {
							t.Errorf("%s, %d descriptors: got %d bytes, %d descriptors", name, n, len(m.Payload), len(m.FDs))
						}
						for i, fd := range m.FDs {
							if _, f := flags(t, fd); f&unix.FD_CLOEXEC == 0 {
								t.Errorf("descriptor %d is not close-on-exec", i)
							}
						}
						next, err := RecvAll(b, buf, 1)
						if err != nil || string(next.Payload) != "next" || len(next.FDs) != 1 {
							t.Errorf("%s, %d descriptors: then got %+v, %v", name, n, next, err)
						}
						next.Close()
						if err := <-sent; err != nil {
							t.Error(err)
						}
					}()
				}
			}
		})
	})
}

// The same with a small SO_SNDBUF, with types other than *listener.FD, and with credentials.
func TestSendAllOtherwise(t *testing.T) {
	passes, err := kernel.PassPidFD.Has()
	if err != nil {
		t.Fatal(err)
	}
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		if err := PassCred(b, true); err != nil && !errors.Is(err, errors.ErrUnsupported) { // before Linux 6.5
			t.Fatal(err)
		}
		if err := a.SetWriteBuffer(1); err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		payload := text(50_000)
		buf := make([]byte, len(payload))
		many := slices.Repeat([]*net.TCPListener{ln.(*net.TCPListener)}, 600)
		own := events(t, 600)
		mixed := slices.Concat(own[:599], []syscall.Conn{ln.(*net.TCPListener)})
		for _, send := range []func() error{
			func() error { return SendAll(a, payload, many) },
			func() error { return SendAll(a, payload, mixed) },
			func() error { return SendAll(a, payload, own) },
		} {
			sent := make(chan error, 1)
			go func() { sent <- send() }()
			noNewFDs(t, func() {
				m, err := RecvAll(b, buf, 600)
				if err != nil {
					t.Fatal(err)
				}
				if len(m.FDs) != 600 || !bytes.Equal(m.Payload, payload) || m.Cred == nil || m.Cred.PID != os.Getpid() || passes && m.PidFD == nil {
					t.Errorf("got %d descriptors, %d bytes, %+v", len(m.FDs), len(m.Payload), m.Cred)
				}
				m.Close()
				if err := <-sent; err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// What fits one message is one, for receivers that know nothing of series.
func TestSendAllSingle(t *testing.T) {
	fds := sockets(t, MaxFDs)
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		payload := text(maxBlock)
		if err := SendAll(a, payload, fds); err != nil {
			t.Fatal(err)
		}
		m, err := Recv(b, make([]byte, maxBlock))
		if err != nil || !bytes.Equal(m.Payload, payload) || len(m.FDs) != MaxFDs {
			t.Errorf("got %+v, %v", m, err)
		}
		m.Close()
	})
}

// The sender is held back, and goes on as soon as something is received.
func TestSendAllWindow(t *testing.T) {
	fd := sockets(t, 1)
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		sent := make(chan error, 1)
		go func() { sent <- SendAll(a, nil, slices.Repeat(fd, 30*MaxFDs)) }()
		got, most := 0, 0
		for got < 30*MaxFDs {
			control(t, a, func(n int) { most = max(most, queued(n)) })
			m, err := Recv(b, make([]byte, 100))
			if err != nil {
				t.Fatal(err)
			}
			got += len(m.FDs)
			m.Close()
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		if most > window+768 {
			t.Errorf("%d bytes were queued", most)
		}
		if err := a.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if err := SendAll(a, nil, slices.Repeat(fd, 30*MaxFDs)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("nobody receives: %v", err)
		}
		control(t, a, func(n int) {
			if q := queued(n); q < window || q > window+768 {
				t.Errorf("%d bytes are queued", q)
			}
		})
	})
}

// rawSend sends what SendAll would not.
type rawSend struct {
	payload []byte
	fds     int
}

func TestRecvAllErrors(t *testing.T) {
	five := sockets(t, 5)
	head := func(fds, payload, padding int) []byte { return header{fds, payload, padding}.append(nil) }
	for _, tt := range []struct {
		name    string
		send    []rawSend
		limit   int
		wantErr error
		only    int
	}{
		{name: "more than expected, in one message", send: []rawSend{{[]byte("x"), 3}}, limit: 2, wantErr: ErrTooMany},
		{name: "none expected", send: []rawSend{{[]byte("x"), 1}}, limit: -1, wantErr: ErrTooMany},
		{name: "long payload", send: []rawSend{{make([]byte, 33), 1}}, limit: 1, wantErr: ErrTruncated, only: unix.SOCK_SEQPACKET},
		{name: "more announced than expected", send: []rawSend{{head(3, 5, 0), 3}}, limit: 2, wantErr: ErrTooMany},
		{name: "long payload announced", send: []rawSend{{head(1, 33, 0), 1}}, limit: 2, wantErr: ErrTruncated},
		{name: "more than announced at once", send: []rawSend{{head(2, 1, 0), 3}}, limit: 5, wantErr: ErrTooMany},
		{name: "more than announced later", send: []rawSend{{head(2, 2, 0), 2}, {[]byte("x"), 1}}, limit: 5, wantErr: ErrTooMany},
		{name: "more than none", send: []rawSend{{head(0, 1, 0), 2}}, limit: 5, wantErr: ErrTooMany},
		{name: "fewer", send: []rawSend{{head(4, 1, 0), 2}, {[]byte("x"), 1}}, limit: 5, wantErr: ErrTruncated},
		{name: "fewer, no payload", send: []rawSend{{head(4, 0, 0), 2}}, limit: 5, wantErr: ErrTruncated},
		{name: "end", send: []rawSend{{head(2, 5, 0), 2}, {[]byte("x"), 0}}, limit: 5, wantErr: io.ErrUnexpectedEOF},
		{name: "end at once", send: []rawSend{{head(2, 0, 2), 0}}, limit: 5, wantErr: io.ErrUnexpectedEOF},
		{name: "longer than announced", send: []rawSend{{head(1, 2, 0), 1}, {[]byte("xyz"), 0}}, limit: 5, wantErr: ErrTruncated, only: unix.SOCK_SEQPACKET},
		{name: "header and more", send: []rawSend{{append(head(1, 2, 0), 'x', 'y'), 1}}, limit: 5, wantErr: ErrTruncated},
		{name: "half a header", send: []rawSend{{head(1, 2, 0)[:12], 1}}, limit: 5, wantErr: ErrTruncated},
		{name: "nothing", limit: 5, wantErr: io.EOF},
	} {
		for _, st := range sockTypes {
			if tt.only != 0 && tt.only != st.typ {
				continue
			}
			t.Run(tt.name+"/"+st.name, func(t *testing.T) {
				a, b := pair(t, st.typ)
				conns := make([]syscall.Conn, len(five))
				for i, fd := range five {
					conns[i] = fd
				}
				noNewFDs(t, func() {
					for _, s := range tt.send {
						if err := Send(a, s.payload, conns[:s.fds]...); err != nil {
							t.Fatal(err)
						}
					}
					if err := a.CloseWrite(); err != nil {
						t.Fatal(err)
					}
					if m, err := RecvAll(b, make([]byte, 32), tt.limit); !errors.Is(err, tt.wantErr) || m != nil {
						t.Errorf("got %+v, %v; want %v", m, err, tt.wantErr)
					}
				})
			})
		}
	}
	a, b := pair(t, unix.SOCK_STREAM)
	if _, err := RecvAll(b, nil, 1); !errors.Is(err, unix.EINVAL) {
		t.Errorf("no buffer: %v", err)
	}
	if err := SendAll(a, []byte("x"), append(slices.Repeat(five, 100), nil)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("one is closed: %v", err)
	}
	a.Close()
	if err := SendAll(a, []byte("x"), five); !errors.Is(err, net.ErrClosed) {
		t.Errorf("own side closed: %v", err)
	}
}

// RLIMIT_NOFILE is reached in the middle: all is closed.
func TestRecvAllDescriptorLimit(t *testing.T) {
	one := sockets(t, 1)
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		if err := SendAll(a, nil, slices.Repeat(one, 4*MaxFDs)); err != nil { // fits the window
			t.Fatal(err)
		}
		noNewFDs(t, func() {
			restore := onlyFree(t, 2*MaxFDs+10)
			m, err := RecvAll(b, make([]byte, 1), 4*MaxFDs)
			restore()
			if !errors.Is(err, ErrTruncated) || !strings.Contains(err.Error(), "RLIMIT_NOFILE") {
				t.Errorf("got %+v, %v", m, err)
			}
		})
	})
}

// The peer closes with something unread in the middle of a series: what it sent counts.
func TestRecvAllReset(t *testing.T) {
	fds := sockets(t, 600)
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		if err := SendAll(a, []byte("last words"), fds); err != nil {
			t.Fatal(err)
		}
		// The reset is made to come in the middle.
		as := assembly{buf: make([]byte, 100), limit: 600}
		control(t, b, func(n int) {
			if _, err := as.first(n, make([]byte, controlSpace)); err != nil {
				t.Fatal(err)
			}
		})
		if err := Send(b, []byte("never read")); err != nil {
			t.Fatal(err)
		}
		a.Close()
		control(t, b, func(n int) {
			if err := as.run(n); err != nil || string(as.m.Payload) != "last words" || len(as.m.FDs) != 600 {
				t.Errorf("got %d descriptors, %q, %v", len(as.m.FDs), as.m.Payload, err)
			}
		})
		as.m.Close()
	})
}

// ETOOMANYREFS is for ordinary users only.
func TestTooManyInFlight(t *testing.T) {
	asUser(t, nil, func(t *testing.T) {
		var old unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
		// Below the window, but with room for what one message brings.
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 600, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
				t.Error(err)
			}
		}()
		one := sockets(t, 1)
		lots := slices.Repeat(one, 8*MaxFDs)

		a, b := pair(t, unix.SOCK_SEQPACKET)
		var err error
		inFlight := 0
		if err := a.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for ; err == nil; inFlight++ {
			err = SendAll(a, []byte("x"), lots[:MaxFDs-1])
		}
		inFlight--
		if !errors.Is(err, unix.ETOOMANYREFS) || !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "RLIMIT_NOFILE") {
			t.Errorf("after %d messages: %v", inFlight, err)
		}
		if err := a.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if err := Send(a, []byte("x"), one[0], one[0]); !errors.Is(err, unix.ETOOMANYREFS) {
			t.Errorf("Send: %v", err)
		}

		// Another connection cannot send anything, until these are received; no event says so there.
		c, d := pair(t, unix.SOCK_STREAM)
		sent := make(chan error, 1)
		go func() { sent <- SendAll(c, []byte("y"), lots) }()
		for range inFlight {
			m, err := Recv(b, make([]byte, 1))
			if err != nil {
				t.Fatal(err)
			}
			m.Close()
		}
		// And then 8 messages where only 3 are allowed in flight.
		got := 0
		for got < len(lots) {
			m, err := Recv(d, make([]byte, 20))
			if err != nil {
				t.Fatal(err)
			}
			got += len(m.FDs)
			m.Close()
		}
		if err := <-sent; err != nil || got != len(lots) {
			t.Errorf("received %d, and sending: %v", got, err)
		}
		fmt.Println("in flight:", inFlight, "messages")
	})
}
