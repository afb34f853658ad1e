package handoff_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/listener"
)

// TestListeners hands over every kind of listener. The successor gets the very socket, so what waits in its queue too.
func TestListeners(t *testing.T) {
	dir := filepath.Dir(rendezvous(t))
	for _, tt := range []struct{ name, network, address string }{
		{"IPv4", "tcp", "127.0.0.1:0"},
		{"IPv4 only", "tcp4", ":0"},
		{"IPv6", "tcp", "[::1]:0"},
		{"IPv6 only", "tcp6", "[::]:0"},
		{"dual stack", "tcp", ":0"},
		{"unix", "unix", filepath.Join(dir, "stream")},
		{"unixpacket", "unixpacket", filepath.Join(dir, "packet")},
		{"abstract unix", "unix", fmt.Sprintf("@segue-test-%d", os.Getpid())},
		{"abstract unixpacket", "unixpacket", fmt.Sprintf("@segue-test-p-%d", os.Getpid())},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := rendezvous(t)
			a := join(t, config(t, path))
			la := listen(t, a, tt.network, tt.address)
			ready(t, a)
			serves(t, la)
			b := join(t, config(t, path))
			lb := listen(t, b, tt.network, tt.address)
			if got, want := lb.Addr().String(), la.Addr().String(); got != want || lb.Addr().Network() != la.Addr().Network() {
				t.Errorf("the successor listens on %s %s, the incumbent on %s", lb.Addr().Network(), got, want)
			}
			if got, want := cookie(t, lb), cookie(t, la); got != want {
				t.Error("the successor has another socket")
			}
			serves(t, la) // until Ready nothing changes
			supersede(t, a, b)
			serves(t, lb)
			switch tt.name {
			case "dual stack":
				port := lb.Addr().(*net.TCPAddr).Port
				for _, ip := range []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback} {
					queued(t, &net.TCPAddr{IP: ip, Port: port}, 1)
					if err := result(t, "the connection", accepting(t, lb)); err != nil {
						t.Error(err)
					}
				}
			case "unix", "unixpacket":
				if _, err := os.Lstat(tt.address); err != nil {
					t.Errorf("the path went with the predecessor: %v", err)
				}
				shut(t, b)
				if _, err := os.Lstat(tt.address); !os.IsNotExist(err) {
					t.Errorf("the path stays after the last generation: %v", err)
				}
			}
		})
	}
}

// cookie identifies a socket.
func cookie(t *testing.T, s any) uint64 {
	t.Helper()
	info, err := listener.Describe(s.(interface {
		listener.Pausable
	}))
	if err != nil {
		t.Fatal(err)
	}
	return info.Cookie
}

// TestPacketConns hands over every kind of packet socket.
func TestPacketConns(t *testing.T) {
	dir := filepath.Dir(rendezvous(t))
	for _, tt := range []struct{ name, network, address string }{
		{"IPv4", "udp", "127.0.0.1:0"},
		{"IPv6", "udp", "[::1]:0"},
		{"dual stack", "udp", ":0"},
		{"unixgram", "unixgram", filepath.Join(dir, "gram")},
		{"abstract unixgram", "unixgram", fmt.Sprintf("@segue-test-g-%d", os.Getpid())},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := rendezvous(t)
			a := join(t, config(t, path))
			ca := listenPacket(t, a, tt.network, tt.address)
			ready(t, a)
			hears(t, ca)
			b := join(t, config(t, path))
			cb := listenPacket(t, b, tt.network, tt.address)
			if got, want := cb.LocalAddr().String(), ca.LocalAddr().String(); got != want {
				t.Errorf("the successor is on %s, the incumbent on %s", got, want)
			}
			if cookie(t, ca) != cookie(t, cb) {
				t.Error("the successor has another socket")
			}
			hears(t, ca)
			supersede(t, a, b)
			hears(t, cb)
			if tt.name == "unixgram" {
				if _, err := os.Lstat(tt.address); err != nil {
					t.Errorf("the path went with the predecessor: %v", err)
				}
				shut(t, b)
				if _, err := os.Lstat(tt.address); !os.IsNotExist(err) {
					t.Errorf("the path stays after the last generation: %v", err)
				}
			}
		})
	}
}

// hears fails unless c reads a datagram that is sent now.
func hears(t *testing.T, c net.PacketConn) {
	t.Helper()
	client := dial(t, c.LocalAddr())
	defer client.Close()
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 16)
	n, _, err := c.ReadFrom(b)
	if err != nil || string(b[:n]) != "hello" {
		t.Fatalf("read %q: %v", b[:n], err)
	}
}

// TestFiles hands over open files: the successor goes on where the predecessor stands.
func TestFiles(t *testing.T) {
	path := rendezvous(t)
	name := filepath.Join(filepath.Dir(path), "log")
	create := func() (*os.File, error) { return os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600) }
	never := func() (*os.File, error) { t.Error("opened although it was offered"); return create() }

	a := join(t, config(t, path))
	fa, err := a.File(bounded(t), "log", create)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(fa, "one "); err != nil {
		t.Fatal(err)
	}
	// Closing one's own copy does not take it from the successor.
	closed, err := a.File(bounded(t), "closed", func() (*os.File, error) { return os.Open(os.DevNull) })
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	ready(t, a)

	b := join(t, config(t, path))
	fb, err := b.File(bounded(t), "log", never)
	if err != nil {
		t.Fatal(err)
	}
	defer fb.Close()
	inherited, err := b.File(bounded(t), "closed", func() (*os.File, error) { t.Error("opened"); return nil, os.ErrInvalid })
	if err != nil {
		t.Fatal(err)
	}
	_ = inherited.Close()
	supersede(t, a, b)
	if _, err := io.WriteString(fb, "two "); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(fa, "three"); err != nil { // the caller's copy is its own for ever
		t.Fatal(err)
	}
	_ = fa.Close()
	if got, err := os.ReadFile(name); err != nil || string(got) != "one two three" {
		t.Errorf("the file has %q, %v", got, err)
	}

	_, err = b.File(bounded(t), "broken", func() (*os.File, error) { return nil, os.ErrPermission })
	wantErr(t, "File with an open that fails", err, os.ErrPermission)
	var typed *handoff.Error
	if !asError(err, &typed) || typed.Op != "file" {
		t.Errorf("%v is no *handoff.Error of file", err)
	}
}

// TestBounds refuses names and addresses that the protocol does not carry, when they are asked for.
func TestBounds(t *testing.T) {
	g := join(t, config(t, rendezvous(t)))
	ctx := bounded(t)
	for _, name := range []string{"", strings.Repeat("x", 256), "\xff", "a\x00b"} {
		if l, err := g.ListenAs(ctx, name, "tcp", "127.0.0.1:0", nil); err == nil {
			_ = l.Close()
			t.Errorf("a listener is named %.10q", name)
		}
	}
	if _, err := g.Listen(ctx, "udp", "127.0.0.1:0"); err == nil {
		t.Error("Listen takes udp")
	}
	if _, err := g.ListenPacket(ctx, "tcp", "127.0.0.1:0"); err == nil {
		t.Error("ListenPacket takes tcp")
	}
	if _, err := g.ListenPacket(ctx, "ip4:icmp", "127.0.0.1"); err == nil {
		t.Error("ListenPacket takes ip")
	}
}
