package live

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// withoutDescriptors lets nothing be opened until restore is called, or the test ends.
func withoutDescriptors(t *testing.T) (restore func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 4, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	restore = sync.OnceFunc(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before) })
	t.Cleanup(restore)
	return restore
}

// await polls until got gives n.
func await(t *testing.T, what string, n int, got func() int) {
	t.Helper()
	for deadline := time.Now().Add(patience); got() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d, want %d", what, got(), n)
		}
	}
}

// triedAgain is how many connections are tried again.
func (l *Lot) triedAgain() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.retried
}

// Without descriptors a connection that has something to read waits until there are some.
func TestLotOutOfDescriptors(t *testing.T) {
	l, c := newLot(t)
	clients, fds := ends(t, 1)
	park(t, l, Key{}, fds, Position{})
	restore := withoutDescriptors(t)
	write(t, clients[0], "hello")
	await(t, "tried again", 1, l.triedAgain)
	restore()
	a := next(t, "arrival", c)
	defer a.c.Close()
	read(t, a.c, "hello")
}

// More connections than are taken out at once lack descriptors, leave for a successor, and are kept: each arrives once.
func TestLotKeptWhileLacking(t *testing.T) {
	l, c := newLot(t)
	const n = 2*maxEvents + 10
	clients, fds := ends(t, n)
	for len(fds) > 0 {
		k := min(len(fds), maxEvents)
		park(t, l, Key{}, fds[:k], Position{})
		fds = fds[k:]
	}
	restore := withoutDescriptors(t)
	for _, client := range clients {
		write(t, client, "hello")
	}
	await(t, "tried again", n, l.triedAgain)
	d := &taking{}
	l.Depart(func(Key) Departure { return d })
	d.leave()
	d.mu.Lock()
	left := len(d.conns)
	d.no = true
	d.mu.Unlock()
	l.mu.Lock()
	l.again = 0 // the next try is due
	l.mu.Unlock()
	restore()
	d.keep()
	if left != n { // none is on its way to arrive
		t.Errorf("%d of %d have left", left, n)
	}
	for range n {
		a := next(t, "arrival", c)
		read(t, a.c, "hello")
		_ = a.c.Close()
	}
	next(t, "empty", l.Empty())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used.n != 0 || l.retried != 0 || l.out.n != 0 || len(l.spots.free) != int(l.spots.n) {
		t.Errorf("used: %d, lacking: %d, out: %d, free: %d of %d", l.used.n, l.retried, l.out.n, len(l.spots.free), l.spots.n)
	}
}

// What was about to arrive when all departed, and lacks descriptors, leaves as well; so does what had been tried before.
func TestLotLackingDeparts(t *testing.T) {
	for _, tried := range []bool{false, true} {
		t.Run(map[bool]string{false: "about to arrive", true: "tried before"}[tried], func(t *testing.T) {
			begun, goOn := make(chan arrived), make(chan struct{})
			l := NewLot(func(k Key, c net.Conn, p Position) {
				begun <- arrived{k, c, p}
				<-goOn
			})
			t.Cleanup(l.Close)
			clients, fds := ends(t, 2)
			for _, client := range clients {
				write(t, client, "x")
			}
			park(t, l, Key{}, fds, Position{})
			a := next(t, "arrival", begun) // and the other one is about to
			defer a.c.Close()
			settled := l.Arrived()
			restore := withoutDescriptors(t)
			if tried {
				goOn <- struct{}{}
				await(t, "tried again", 1, l.triedAgain)
			}
			d := &taking{}
			l.Depart(func(Key) Departure { return d })
			if !tried {
				select {
				case <-settled:
					t.Error("nothing is about to arrive")
				default:
				}
				goOn <- struct{}{}
			}
			next(t, "end of the arrivals", settled)
			await(t, "left", 1, func() int {
				d.mu.Lock()
				defer d.mu.Unlock()
				return len(d.conns)
			})
			restore()
			close(goOn)
			l.Stay()
			d.keep()
			b := next(t, "arrival of the one that is kept", begun)
			defer b.c.Close()
		})
	}
}

// A connection that has something to read arrives also when the program has all other descriptors.
func TestLotFullTable(t *testing.T) {
	l, c := newLot(t)
	clients, fds := ends(t, 1)
	park(t, l, Key{}, fds, Position{})
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 200, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before) }()
	for {
		n, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if errors.Is(err, unix.EMFILE) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(n)
	}
	write(t, clients[0], "hello")
	a := next(t, "arrival", c)
	defer a.c.Close()
	read(t, a.c, "hello")
}
