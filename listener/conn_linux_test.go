package listener

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connected returns both ends of a connection.
func connected(t *testing.T, network, address string) (client, server net.Conn) {
	t.Helper()
	ln, err := (&net.ListenConfig{KeepAlive: -1}).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return client, server
}

func dup(t *testing.T, c net.Conn) *FD {
	t.Helper()
	fd, err := Dup(c.(syscall.Conn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fd.Close() })
	return fd
}

func TestConnFromFD(t *testing.T) {
	for _, tt := range []struct{ network, address string }{
		{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"unix", filepath.Join(t.TempDir(), "s")}, {"unixpacket", filepath.Join(t.TempDir(), "p")},
	} {
		t.Run(tt.network, func(t *testing.T) {
			client, server := connected(t, tt.network, tt.address)
			if tcp, ok := server.(*net.TCPConn); ok {
				if err := errors.Join(tcp.SetNoDelay(false), tcp.SetKeepAliveConfig(net.KeepAliveConfig{
					Enable: true, Idle: 77 * time.Second, Interval: 7 * time.Second, Count: 3,
				})); err != nil {
					t.Fatal(err)
				}
			}
			fd := dup(t, server)
			var before, after tcpOptions
			_, isTCP := server.(*net.TCPConn)
			if isTCP {
				before = options(t, fd)
			}
			c, err := ConnFromFD(fd)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if n := fd.Disown(); n >= 0 {
				t.Errorf("descriptor %d is still the caller's", n)
			}
			if isTCP {
				if after = options(t, c.(*net.TCPConn)); after != before || after.idle != 77 || after.noDelay != 0 {
					t.Errorf("options were %+v, and are %+v", before, after)
				}
				if got, want := c.RemoteAddr().String(), client.LocalAddr().String(); got != want {
					t.Errorf("remote address %s, want %s", got, want)
				}
			}
			_ = server.Close() // no FIN: c has it
			go func() { _, _ = client.Write([]byte("hello")) }()
			b := make([]byte, 5)
			if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
				t.Errorf("read %q, %v", b, err)
			}
		})
	}
}

func options(t *testing.T, c syscall.Conn) (o tcpOptions) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var askErr error
	if err := raw.Control(func(fd uintptr) { o, askErr = askTCP(int(fd)) }); err != nil || askErr != nil {
		t.Fatal(err, askErr)
	}
	return o
}

// Keep-alive that was off stays off.
func TestConnFromFDKeepAliveOff(t *testing.T) {
	_, server := connected(t, "tcp", "127.0.0.1:0")
	c, err := ConnFromFD(dup(t, server))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if o := options(t, c.(*net.TCPConn)); o.keepAlive != 0 {
		t.Errorf("keep-alive is on: %+v", o)
	}
}

func TestConnFromFDErrors(t *testing.T) {
	socket := func(domain, typ int) *FD {
		n, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		return NewFD(n)
	}
	listening := func(network, address string) *FD {
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		fd, err := Dup(ln.(syscall.Conn))
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	file := func() *FD {
		n, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		return NewFD(n)
	}
	for _, tt := range []struct {
		name    string
		fd      *FD
		wantErr error
	}{
		{"file", file(), ErrNotSocket},
		{"udp", socket(unix.AF_INET, unix.SOCK_DGRAM), ErrSocketType},
		{"netlink", socket(unix.AF_NETLINK, unix.SOCK_RAW), ErrSocketType},
		{"not connected", socket(unix.AF_INET, unix.SOCK_STREAM), ErrNotConnected},
		{"unix, not connected", socket(unix.AF_UNIX, unix.SOCK_STREAM), ErrNotConnected},
		{"unix, listening", listening("unix", filepath.Join(t.TempDir(), "s")), ErrNotConnected},
		{"unixpacket, listening", listening("unixpacket", filepath.Join(t.TempDir(), "p")), ErrNotConnected},
		{"tcp, listening", listening("tcp", "127.0.0.1:0"), ErrNotConnected},
		{"closed", NewFD(-1), net.ErrClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := ConnFromFD(tt.fd)
			if !errors.Is(err, tt.wantErr) {
				t.Errorf("got %v, %v, want %v", c, err, tt.wantErr)
			}
			if tt.wantErr != net.ErrClosed && tt.fd.Control(func(uintptr) {}) != nil {
				t.Error("the descriptor is not the caller's any more")
			}
			_ = tt.fd.Close()
		})
	}
}

// Who has hung up is connected still: there may be bytes to read.
func TestConnFromFDHungUp(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		t.Run(network, func(t *testing.T) {
			client, server := connected(t, network, address)
			if _, err := client.Write([]byte("bye")); err != nil {
				t.Fatal(err)
			}
			_ = client.Close()
			c, err := ConnFromFD(dup(t, server))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if b, err := io.ReadAll(c); err != nil || string(b) != "bye" {
				t.Errorf("read %q, %v", b, err)
			}
		})
	}
}
