package handoff_test

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/segue-go/segue/handoff"
	"golang.org/x/sys/unix"
)

// reusePort lets several sockets be bound to one address.
var reusePort = &net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
	var err error
	if cErr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); cErr != nil {
		return cErr
	}
	return err
}}

// group listens n times under one name.
func group(t *testing.T, g *handoff.Generation, address string, n int) []net.Listener {
	t.Helper()
	var all []net.Listener
	for range n {
		l, err := g.ListenAs(bounded(t), "group", "tcp", address, reusePort)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// freePort is a port that is most likely free: a group cannot be bound to port 0.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestReusePortGroup: the n-th call of a name gets the n-th socket, also when the group grows and shrinks.
func TestReusePortGroup(t *testing.T) {
	path, address := rendezvous(t), freePort(t)
	results := make(chan error, 100)
	accept := func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, err = c.Write([]byte("hello"))
			_ = c.Close()
			results <- err
		}
	}
	a := join(t, config(t, path))
	before := group(t, a, address, 3)
	for _, l := range before {
		go accept(l)
	}
	ready(t, a)
	for _, size := range []int{5, 2, 4} {
		b := join(t, config(t, path))
		now := group(t, b, address, size)
		old := map[uint64]bool{}
		for i, l := range before {
			c := cookie(t, l)
			old[c] = true
			if i < len(now) && cookie(t, now[i]) != c {
				t.Errorf("%d to %d: socket %d is another", len(before), size, i)
			}
		}
		for i := len(before); i < len(now); i++ {
			if old[cookie(t, now[i])] {
				t.Errorf("%d to %d: socket %d is an old one", len(before), size, i)
			}
		}
		// With so many, some are in the queue of each, also of those that are dropped.
		clients := queued(t, before[0].Addr(), 32)
		for _, l := range now {
			go accept(l)
		}
		supersede(t, a, b)
		for range clients {
			if err := result(t, "a queued connection", results); err != nil {
				t.Error(err)
			}
		}
		for _, c := range clients {
			word := make([]byte, 5)
			if n, err := c.Read(word); err != nil || n != 5 {
				t.Errorf("a queued client got %q, %v", word[:n], err)
			}
			_ = c.Close()
		}
		a, before = b, now
	}
	shut(t, a)
}

// TestManySockets needs three messages, for the descriptors of one are at most 253.
func TestManySockets(t *testing.T) {
	const n = 600
	path := rendezvous(t)
	a := join(t, config(t, path))
	b := (*handoff.Generation)(nil)
	all := func(g *handoff.Generation) []net.Listener {
		var ls []net.Listener
		for i := range n {
			ls = append(ls, listenAs(t, g, fmt.Sprintf("socket %d", i), "unix", fmt.Sprintf("@segue-many-%d-%s", i, path)))
		}
		return ls
	}
	was := all(a)
	ready(t, a)
	b = join(t, config(t, path))
	is := all(b)
	for i := range is {
		if cookie(t, was[i]) != cookie(t, is[i]) {
			t.Fatalf("socket %d is another", i)
		}
	}
	supersede(t, a, b)
	for _, i := range []int{0, 252, 253, 506, n - 1} {
		serves(t, is[i])
	}
}

// TestChangedAddress: under one name, another address is another socket. The old one is served until the successor has
// confirmed, and what is in its queue by then is served by the predecessor.
func TestChangedAddress(t *testing.T) {
	path := rendezvous(t)
	a := join(t, config(t, path))
	la := listenAs(t, a, "web", "tcp", "127.0.0.1:0")
	ready(t, a)

	b := join(t, config(t, path))
	lb := listenAs(t, b, "web", "tcp", "127.0.0.2:0")
	if la.Addr().String() == lb.Addr().String() {
		t.Fatal("inherited in spite of another address")
	}
	pending(t, "Accept of a fresh listener before Ready", accepting(t, lb))
	serves(t, la)
	queued(t, la.Addr(), 20)
	ready(t, b)
	draining := make(chan struct{})
	end := waiting(t, a, func(context.Context) error {
		defer close(draining)
		for range 20 {
			if err := result(t, "what was queued", accepting(t, la)); err != nil {
				t.Errorf("Accept of what was queued: %v", err)
			}
		}
		_, err := net.Dial("tcp", la.Addr().String())
		wantErr(t, "dial of the old address", err, syscall.ECONNREFUSED)
		return nil
	})
	await(t, "the drain", draining)
	if err := result(t, "the end of Wait", end); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Accept after Wait", result(t, "Accept", accepting(t, la)), net.ErrClosed)
	queued(t, lb.Addr(), 1) // its first Accept is the one above
}

// TestUnclaimedServes: until the successor confirms, the incumbent serves a socket that the successor does not want.
func TestUnclaimedServes(t *testing.T) {
	path := rendezvous(t)
	a := join(t, config(t, path))
	la := listenAs(t, a, "old", "tcp", "127.0.0.1:0")
	shared := listenAs(t, a, "shared", "tcp", "127.0.0.1:0")
	ready(t, a)
	c := config(t, path)
	gate := make(chan struct{})
	c.Check = func(ctx context.Context) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b := join(t, c)
	lb := listenAs(t, b, "shared", "tcp", "127.0.0.1:0")
	ready(t, b)
	serves(t, lb)
	serves(t, la) // b owns, but has not confirmed
	late := accepting(t, shared)
	pending(t, "Accept of what was handed over", late)
	close(gate)
	if err := result(t, "the end of Wait", waiting(t, a, nil)); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Accept after Wait", result(t, "Accept", late), net.ErrClosed)
	_, err := net.Dial("tcp", la.Addr().String())
	wantErr(t, "dial of the old address", err, syscall.ECONNREFUSED)
}

// TestSwappedAddresses: two names exchange their addresses, and both sockets live on.
func TestSwappedAddresses(t *testing.T) {
	path := rendezvous(t)
	one, two := freePort(t), freePort(t)
	a := join(t, config(t, path))
	a1, a2 := listenAs(t, a, "one", "tcp", one), listenAs(t, a, "two", "tcp", two)
	ready(t, a)
	b := join(t, config(t, path))
	b1, b2 := listenAs(t, b, "one", "tcp", two), listenAs(t, b, "two", "tcp", one)
	if cookie(t, b1) != cookie(t, a2) || cookie(t, b2) != cookie(t, a1) {
		t.Error("not the sockets of these addresses")
	}
	supersede(t, a, b)
	serves(t, b1)
	serves(t, b2)
	// They are handed on under the names that they have now.
	c := join(t, config(t, path))
	c1 := listenAs(t, c, "one", "tcp", two)
	if cookie(t, c1) != cookie(t, b1) {
		t.Error("the names are not the new ones")
	}
	supersede(t, b, c)
	serves(t, c1)
}

// TestRenamed: another name for an address that is in use by the predecessor gets the predecessor's socket.
func TestRenamed(t *testing.T) {
	path, address := rendezvous(t), freePort(t)
	a := join(t, config(t, path))
	la := listenAs(t, a, "old name", "tcp", address)
	ready(t, a)
	b := join(t, config(t, path))
	lb := listenAs(t, b, "new name", "tcp", address)
	if cookie(t, la) != cookie(t, lb) {
		t.Error("another socket")
	}
	supersede(t, a, b)
	serves(t, lb)
	if s := b.Status().Sockets; len(s) != 1 || s[0].Name != "new name" || !s[0].Inherited {
		t.Errorf("Status says %+v", s)
	}
}

// TestAddressInUse: what fails without segue fails with it, in the first generation and in its successors.
func TestAddressInUse(t *testing.T) {
	path, address := rendezvous(t), freePort(t)
	a := join(t, config(t, path))
	listen(t, a, "tcp", address)
	_, err := a.Listen(bounded(t), "tcp", address)
	wantErr(t, "the second Listen", err, syscall.EADDRINUSE)
	ready(t, a)
	_, err = a.Listen(bounded(t), "tcp", address)
	wantErr(t, "Listen after Ready", err, syscall.EADDRINUSE)
	b := join(t, config(t, path))
	lb := listen(t, b, "tcp", address)
	_, err = b.Listen(bounded(t), "tcp", address)
	wantErr(t, "the second Listen of a successor", err, syscall.EADDRINUSE)
	supersede(t, a, b)
	serves(t, lb)
	_, err = a.Listen(bounded(t), "tcp", "127.0.0.1:0")
	wantErr(t, "Listen after the end", err, net.ErrClosed)
}
