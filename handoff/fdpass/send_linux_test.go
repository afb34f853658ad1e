package fdpass

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

func TestSendErrors(t *testing.T) {
	closed := listener.NewFD(-1)
	one := events(t, 1)
	many := make([]syscall.Conn, MaxFDs+1)
	for i := range many {
		many[i] = one[0]
	}
	for _, tt := range []struct {
		name    string
		payload string
		fds     []syscall.Conn
		wantErr error
	}{
		{"too many", "x", many, ErrTooMany},
		{"no payload", "", one, unix.EINVAL},
		{"closed descriptor", "x", append(one[:1:1], closed), net.ErrClosed},
		{"the same one, often", "x", many[:MaxFDs], nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachType(t, func(t *testing.T, a, b *net.UnixConn) {
				noNewFDs(t, func() {
					if err := Send(a, []byte(tt.payload), tt.fds...); !errors.Is(err, tt.wantErr) {
						t.Errorf("got error %v, want %v", err, tt.wantErr)
					}
					m, err := TryRecv(b, make([]byte, 10))
					if got := err == nil; got != (tt.wantErr == nil) {
						t.Errorf("received %+v, error %v", m, err)
					}
					m.Close()
				})
			})
		})
	}
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		b.Close()
		if err := Send(a, []byte("x"), one...); !errors.Is(err, unix.EPIPE) {
			t.Errorf("other side closed: got %v", err)
		}
		a.Close()
		if err := Send(a, []byte("x"), one...); !errors.Is(err, net.ErrClosed) {
			t.Errorf("own side closed: got %v", err)
		}
		if _, err := Recv(a, make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("own side closed: got %v", err)
		}
		if _, err := TryRecv(a, make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("own side closed: got %v", err)
		}
		if err := PassCred(a, true); !errors.Is(err, net.ErrClosed) {
			t.Errorf("own side closed: got %v", err)
		}
	})
}

// Send waits for room, and what it sent while it waited is whole.
func TestSendWaits(t *testing.T) {
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		const size, count = 32 << 10, 40 // more than the socket buffers
		one := events(t, 1)
		sent := make(chan error, 1)
		go func() {
			for i := range count {
				if err := Send(a, bytes.Repeat([]byte{byte(i)}, size), one...); err != nil {
					sent <- err
					return
				}
			}
			sent <- a.CloseWrite()
		}()
		var bytesGot, fdsGot int
		buf := make([]byte, size)
		for {
			m, err := Recv(b, buf)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range m.Payload {
				if int(c) != bytesGot/size {
					t.Fatalf("byte %d is of message %d", bytesGot, c)
				}
				bytesGot++
			}
			fdsGot += len(m.FDs)
			m.Close()
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		if bytesGot != size*count || fdsGot != count {
			t.Errorf("got %d bytes and %d descriptors, want %d and %d", bytesGot, fdsGot, size*count, count)
		}
	})
}

// A stream takes a long message in parts; the descriptors come once, with the first byte.
func TestSendLong(t *testing.T) {
	a, b := pair(t, unix.SOCK_STREAM)
	const size = 4 << 20 // more than any socket buffer
	sent := make(chan error, 1)
	one := events(t, 1)
	go func() { sent <- errors.Join(Send(a, make([]byte, size), one...), a.CloseWrite()) }()
	var bytesGot, fdsGot int
	buf := make([]byte, 1000) // a message may be read in parts, too
	for {
		m, err := Recv(b, buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(m.FDs) > 0 && bytesGot > 0 {
			t.Errorf("descriptors came with byte %d", bytesGot)
		}
		bytesGot += len(m.Payload)
		fdsGot += len(m.FDs)
		m.Close()
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if bytesGot != size || fdsGot != 1 {
		t.Errorf("got %d bytes and %d descriptors, want %d and 1", bytesGot, fdsGot, size)
	}
}

func TestSendDeadline(t *testing.T) {
	eachType(t, func(t *testing.T, a, b *net.UnixConn) {
		one := events(t, 1)
		if err := a.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		var err error
		for err == nil { // until the buffer is full
			err = Send(a, make([]byte, 32<<10), one...)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		// The descriptor was not held meanwhile, and is ours alone once the messages are gone.
		if err := one[0].(*listener.FD).Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestSendAllTooLong sends nothing of a payload that the header has no room for.
func TestSendAllTooLong(t *testing.T) {
	if strconv.IntSize < 64 {
		t.Skip("a slice cannot be so long here")
	}
	for _, size := range []int{1 << 31, 1<<32 + 1} {
		// Nothing is read or written, so that no memory is needed.
		payload, err := unix.Mmap(-1, 0, size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Munmap(payload) }()
		eachType(t, func(t *testing.T, a, b *net.UnixConn) {
			if err := SendAll[*listener.FD](a, payload, nil); !errors.Is(err, unix.EMSGSIZE) {
				t.Errorf("%d bytes: %v", size, err)
			}
			if m, err := TryRecv(b, make([]byte, 100)); !errors.Is(err, ErrWouldBlock) {
				m.Close()
				t.Errorf("%d bytes: something came: %v", size, err)
			}
		})
	}
}

// TestRecvAllocates allocates what the message is made of, and no buffer for the kernel's control data.
func TestRecvAllocates(t *testing.T) {
	a, b := pair(t, unix.SOCK_SEQPACKET)
	fd := sockets(t, 1)
	buf := make([]byte, 10)
	for name, recv := range map[string]func() (*Message, error){
		"Recv":    func() (*Message, error) { return Recv(b, buf) },
		"RecvAll": func() (*Message, error) { return RecvAll(b, buf, 1) },
	} {
		const rounds = 100
		var allocated uint64
		for range rounds {
			if err := SendAll(a, []byte("x"), fd); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			m, err := recv()
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			m.Close()
			allocated += after.TotalAlloc - before.TotalAlloc
		}
		if allocated/rounds >= uint64(controlSpace) {
			t.Errorf("%s allocates %d bytes, a control buffer has %d", name, allocated/rounds, controlSpace)
		}
	}
}
