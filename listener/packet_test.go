package listener

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// reader is one of the ways to read a datagram.
type reader func(b []byte) (int, error)

// readers are all ways to read from p: each must wait at the gate.
func readers(t *testing.T, p Packet) map[string]reader {
	raw, err := p.SyscallConn()
	must(t, err)
	all := map[string]reader{
		"ReadFrom": func(b []byte) (int, error) { n, _, err := p.ReadFrom(b); return n, err },
		"Read":     p.(net.Conn).Read,
	}
	switch p := p.(type) {
	case *UDPConn:
		all["ReadFromUDP"] = func(b []byte) (int, error) { n, _, err := p.ReadFromUDP(b); return n, err }
		all["ReadFromUDPAddrPort"] = func(b []byte) (int, error) { n, _, err := p.ReadFromUDPAddrPort(b); return n, err }
		all["ReadMsgUDP"] = func(b []byte) (int, error) { n, _, _, _, err := p.ReadMsgUDP(b, nil); return n, err }
		all["ReadMsgUDPAddrPort"] = func(b []byte) (int, error) { n, _, _, _, err := p.ReadMsgUDPAddrPort(b, nil); return n, err }
	case *UnixgramConn:
		all["ReadFromUnix"] = func(b []byte) (int, error) { n, _, err := p.ReadFromUnix(b); return n, err }
		all["ReadMsgUnix"] = func(b []byte) (int, error) { n, _, _, _, err := p.ReadMsgUnix(b, nil); return n, err }
	}
	if r := rawReader(raw); r != nil {
		all["SyscallConn().Read"] = r
	}
	return all
}

func listenPacket(t *testing.T, network string) Packet {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unixgram" {
		address = filepath.Join(socketDir(t), "s")
	}
	c, err := net.ListenPacket(network, address)
	if err != nil {
		t.Skip(err) // unixgram is not everywhere
	}
	p, err := NewPacket(c, Options{})
	must(t, err)
	t.Cleanup(func() { _ = p.Discard() })
	return p
}

type result struct {
	text string
	err  error
}

// read calls r in a goroutine of its own, which the test waits for.
func read(t *testing.T, p Packet, r reader) <-chan result {
	t.Helper()
	c := make(chan result, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 64)
		n, err := r(b)
		c <- result{string(b[:max(n, 0)]), err} // package net returns -1 with some errors
	}()
	t.Cleanup(func() {
		_ = p.Close()
		<-done
	})
	return c
}

// Each way to read is paused while in flight, stays blocked though a datagram comes, and gets it when reopened.
func TestPacketPause(t *testing.T) {
	for _, network := range []string{"udp", "unixgram"} {
		for name := range readers(t, listenPacket(t, network)) {
			t.Run(network+" "+name, func(t *testing.T) {
				p := listenPacket(t, network)
				r := readers(t, p)[name]
				gate := gateOf(p)
				client := dial(t, p.LocalAddr())
				must(t, p.Open())
				call := read(t, p, r)
				eventually(t, "the read is in flight", func() bool { return gate.state.Load()&inFlight == 1 })
				must(t, p.Pause())
				gate.queued(t, name)
				_, err := client.Write([]byte("hello"))
				must(t, err)
				if got := drain(t, p); got != "hello" {
					t.Errorf("the blocked read has taken %q away", got)
				}
				_, err = client.Write([]byte("again"))
				must(t, err)
				must(t, p.Park())
				must(t, p.Arm())
				must(t, p.Open())
				if got := within(t, name, call); got.err != nil || got.text != "again" {
					t.Errorf("read %q, %v", got.text, got.err)
				}
			})
		}
	}
}

func TestPacketErrors(t *testing.T) {
	for _, network := range []string{"udp", "unixgram"} {
		for name := range readers(t, listenPacket(t, network)) {
			t.Run(network+" "+name, func(t *testing.T) {
				p := listenPacket(t, network)
				r := readers(t, p)[name]
				for _, state := range []func() error{p.Pause, p.Open, p.Pause} {
					must(t, state())
					must(t, p.SetReadDeadline(time.Time{}))
					call := read(t, nopClosePacket{p}, r)
					must(t, p.SetDeadline(time.Now().Add(5*time.Millisecond)))
					err := within(t, name, call).err
					var ne net.Error
					if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
						t.Errorf("%v, want a timeout", err)
					}
				}
				must(t, p.SetDeadline(time.Time{}))
				call := read(t, nopClosePacket{p}, r)
				must(t, p.Close())
				for _, err := range []error{
					within(t, name, call).err, p.Close(), p.Discard(), p.Open(), p.Pause(), p.Park(), p.Arm(),
					p.SetDeadline(time.Time{}), p.SetReadDeadline(time.Time{}),
				} {
					var oe *net.OpError
					if !errors.Is(err, net.ErrClosed) || !errors.As(err, &oe) {
						t.Errorf("after Close: %v", err)
					}
				}
			})
		}
	}
}

type nopClosePacket struct{ Packet }

func (nopClosePacket) Close() error { return nil }

// Writes go on while paused, even past the deadline of reads, and so does Control.
func TestPacketWritesWhilePaused(t *testing.T) {
	p := listenPacket(t, "udp")
	peer, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer peer.Close()
	must(t, p.SetReadDeadline(aLongTimeAgo))
	_, err = p.WriteTo([]byte("hello"), peer.LocalAddr())
	must(t, err)
	must(t, peer.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 64)
	n, _, err := peer.ReadFrom(b)
	if err != nil || string(b[:n]) != "hello" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	raw, err := p.SyscallConn()
	must(t, err)
	called := false
	must(t, raw.Control(func(uintptr) { called = true }))
	if !called {
		t.Error("Control did not call")
	}
}

// Every datagram that a client sends, and resends never, is echoed exactly once, however often reads are paused.
func TestPacketStress(t *testing.T) {
	const clients, perClient = 4, 200
	p := listenPacket(t, "udp")
	var reading, writing, switching sync.WaitGroup
	must(t, p.Open())
	for range 3 {
		reading.Go(func() {
			b := make([]byte, 64)
			for {
				n, addr, err := p.ReadFrom(b)
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
					return
				}
				if _, err := p.WriteTo(b[:n], addr); err != nil {
					t.Error(err)
				}
			}
		})
	}
	kicks := make(chan struct{}, 1)
	switching.Go(func() {
		for range kicks {
			if err := errors.Join(p.Pause(), p.Open(), p.Pause(), p.Open()); err != nil {
				t.Error(err)
			}
		}
	})
	for range clients {
		writing.Go(func() {
			c, err := net.Dial("udp", p.LocalAddr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			b := make([]byte, 64)
			for i := range uint32(perClient) {
				select {
				case kicks <- struct{}{}:
				default:
				}
				if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
					t.Error(err)
				}
				if _, err := c.Write(binary.BigEndian.AppendUint32(nil, i)); err != nil {
					t.Error(err)
					return
				}
				if n, err := c.Read(b); err != nil || n != 4 || binary.BigEndian.Uint32(b) != i {
					t.Errorf("the answer to %d is %x, %v", i, b[:n], err)
					return
				}
			}
		})
	}
	writing.Wait()
	close(kicks)
	switching.Wait()
	must(t, p.Close())
	reading.Wait()
}

func TestNewPacketRefuses(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(socketDir(t), "s"))
	must(t, err)
	defer l.Close()
	stream := dial(t, l.Addr()).(*net.UnixConn)
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	for name, tt := range map[string]struct {
		c       net.PacketConn
		wantErr error
	}{
		"nil":            {nil, ErrSocketType},
		"typed nil udp":  {(*net.UDPConn)(nil), ErrSocketType},
		"typed nil unix": {(*net.UnixConn)(nil), ErrSocketType},
		"a stream":       {stream, ErrSocketType},
		"ip":             {(*net.IPConn)(nil), ErrSocketType},
		"closed":         {closed, net.ErrClosed},
	} {
		if _, err := NewPacket(tt.c, Options{}); !errors.Is(err, tt.wantErr) {
			t.Errorf("%s: %v, want %v", name, err, tt.wantErr)
		}
	}
}

func TestZeroPacket(t *testing.T) {
	for _, p := range []Packet{new(UDPConn), new(UnixgramConn)} {
		if _, _, err := p.ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%T: %v", p, err)
		}
		if err := p.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%T: %v", p, err)
		}
		if _, err := p.SyscallConn(); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%T: %v", p, err)
		}
		if _, err := p.(interface{ File() (*os.File, error) }).File(); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%T: %v", p, err)
		}
	}
}

func TestPacketUnlink(t *testing.T) {
	for name, discard := range map[string]bool{"close": false, "discard": true} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(socketDir(t), "s")
			c, err := net.ListenPacket("unixgram", path)
			if err != nil {
				t.Skip(err)
			}
			u, err := StatUnixPath(path)
			must(t, err)
			p, err := NewPacket(c, Options{Unlink: u})
			must(t, err)
			if !p.UnlinkOnClose() {
				t.Error("it is not to be unlinked")
			}
			if discard {
				must(t, p.Discard())
			} else {
				must(t, p.Close())
			}
			if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) == discard {
				t.Errorf("lstat: %v", err)
			}
		})
	}
}

func gateOf(p Packet) *gate {
	switch p := p.(type) {
	case *UDPConn:
		return &p.gate
	case *UnixgramConn:
		return &p.gate
	default:
		return nil
	}
}

// drain reads one datagram behind the gate's back, while it is shut.
func drain(t *testing.T, p Packet) string {
	t.Helper()
	var c net.PacketConn
	switch p := p.(type) {
	case *UDPConn:
		c = p.UDPConn
	case *UnixgramConn:
		c = p.UnixConn
	}
	must(t, c.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 64)
	n, _, err := c.ReadFrom(b)
	must(t, err)
	must(t, c.SetReadDeadline(aLongTimeAgo))
	return string(b[:n])
}
