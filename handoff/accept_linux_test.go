package handoff_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// TestAccept: it blocks in a successor until Ready, and in an incumbent while it is superseded; only when Wait has
// returned nil does it say net.ErrClosed.
func TestAccept(t *testing.T) {
	path := rendezvous(t)
	a := join(t, config(t, path))
	la := listen(t, a, "tcp", "127.0.0.1:0")
	before := accepting(t, la)
	pending(t, "Accept before Ready", before)
	queued(t, la.Addr(), 1)
	pending(t, "Accept before Ready", before)
	ready(t, a)
	if err := result(t, "Accept after Ready", before); err != nil {
		t.Fatal(err)
	}

	b := join(t, config(t, path))
	lb := listen(t, b, "tcp", "127.0.0.1:0")
	inA, inB := accepting(t, la), accepting(t, lb)
	pending(t, "Accept in the successor", inB)
	ready(t, b)
	draining, drained := make(chan struct{}), make(chan struct{})
	end := waiting(t, a, func(context.Context) error {
		close(draining)
		<-drained
		return nil
	})
	await(t, "the drain", draining)
	await(t, "Released", a.Released())
	queued(t, lb.Addr(), 1)
	if err := result(t, "Accept in the successor", inB); err != nil {
		t.Fatal(err)
	}
	pending(t, "Accept in the incumbent", inA)
	close(drained)
	if err := result(t, "the end of Wait", end); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Accept in the incumbent", result(t, "Accept", inA), net.ErrClosed)
	var op *net.OpError
	if _, err := la.Accept(); !errors.As(err, &op) || op.Op != "accept" {
		t.Errorf("Accept gives %#v, no *net.OpError", err)
	}
	if err := la.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close after the end: %v", err)
	}
}

// TestGenuineConns: what is accepted is what package net accepts.
func TestGenuineConns(t *testing.T) {
	path := rendezvous(t)
	a, _ := first(t, config(t, path))
	b := join(t, config(t, path))
	lb := listen(t, b, "tcp", "127.0.0.1:0")
	supersede(t, a, b)
	if c, ok := accepted(t, lb).(*net.TCPConn); !ok {
		t.Errorf("accepted a %T", c)
	}
	deadline, ok := lb.(interface{ SetDeadline(time.Time) error })
	if !ok {
		t.Fatal("no SetDeadline")
	}
	if err := deadline.SetDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Accept after the deadline", result(t, "Accept", accepting(t, lb)), os.ErrDeadlineExceeded)
}

// TestUDPSwitch: datagrams that are sent all the time during switches are read exactly once, by one or the other.
func TestUDPSwitch(t *testing.T) {
	path := rendezvous(t)
	a := join(t, config(t, path))
	ca := listenPacket(t, a, "udp", "127.0.0.1:0")
	var mu sync.Mutex
	seen := map[uint32]int{}
	var readers sync.WaitGroup
	read := func(c net.PacketConn) {
		b := make([]byte, 64)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if n == 4 {
				mu.Lock()
				seen[binary.BigEndian.Uint32(b)]++
				mu.Unlock()
				if _, err := c.WriteTo(b[:4], from); err != nil { // writes are free, also after the switch
					t.Errorf("answer: %v", err)
				}
			}
		}
	}
	readers.Go(func() { read(ca) })
	ready(t, a)

	client := dial(t, ca.LocalAddr())
	var sender sync.WaitGroup
	stop := make(chan struct{})
	sent := uint32(0)
	sender.Go(func() {
		answer := make([]byte, 4)
		for {
			select {
			case <-stop:
				return
			default:
			}
			// A few at once, then their answers, so that no buffer overflows.
			for range 8 {
				var b [4]byte
				binary.BigEndian.PutUint32(b[:], sent)
				if _, err := client.Write(b[:]); err != nil {
					t.Errorf("write: %v", err)
					return
				}
				sent++
			}
			_ = client.SetReadDeadline(time.Now().Add(patience))
			for range 8 {
				if _, err := client.Read(answer); err != nil {
					t.Errorf("an answer does not come: %v", err)
					return
				}
			}
		}
	})
	for range 5 {
		b := join(t, config(t, path))
		cb := listenPacket(t, b, "udp", "127.0.0.1:0")
		readers.Go(func() { read(cb) })
		supersede(t, a, b)
		a = b
	}
	close(stop)
	within(t, "the sender's end", sender.Wait)
	shut(t, a)
	within(t, "the readers' end", readers.Wait)
	if sent == 0 || len(seen) != int(sent) {
		t.Errorf("%d datagrams of %d were read", len(seen), sent)
	}
	for n, times := range seen {
		if times != 1 {
			t.Errorf("datagram %d was read %d times", n, times)
		}
	}
}

// TestStreamSwitch: connections that are made all the time during switches are all served.
func TestStreamSwitch(t *testing.T) {
	path := rendezvous(t)
	a := join(t, config(t, path))
	la := listen(t, a, "tcp", "127.0.0.1:0")
	address := la.Addr().String()
	var servers, clients sync.WaitGroup
	serve := func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := c.Write([]byte("x")); err != nil {
				t.Errorf("serve: %v", err)
			}
			_ = c.Close()
		}
	}
	servers.Go(func() { serve(la) })
	ready(t, a)
	stop := make(chan struct{})
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := net.DialTimeout("tcp", address, patience)
				if err != nil {
					t.Errorf("dial: %v", err)
					return
				}
				_ = c.SetReadDeadline(time.Now().Add(patience))
				if _, err := c.Read(make([]byte, 1)); err != nil {
					t.Errorf("read: %v", err)
				}
				_ = c.Close()
			}
		})
	}
	for range 10 {
		b := join(t, config(t, path))
		lb := listen(t, b, "tcp", "127.0.0.1:0")
		servers.Go(func() { serve(lb) })
		supersede(t, a, b)
		a = b
	}
	close(stop)
	within(t, "the clients' end", clients.Wait)
	shut(t, a)
	within(t, "the servers' end", servers.Wait)
}
