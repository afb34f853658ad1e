package live

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/listener"
)

// patience bounds every wait for what must happen.
const patience = 10 * time.Second

// arrived is what a lot gave away.
type arrived struct {
	key Key
	c   net.Conn
	p   Position
}

// newLot returns a lot, and where its connections arrive.
func newLot(t *testing.T) (*Lot, <-chan arrived) {
	t.Helper()
	c := make(chan arrived, 1000)
	l := NewLot(func(k Key, conn net.Conn, p Position) { c <- arrived{k, conn, p} })
	t.Cleanup(func() {
		l.Close()
		for len(c) > 0 {
			_ = (<-c).c.Close()
		}
	})
	return l, c
}

// ends makes n connections, and returns the clients' ends and bare descriptors of the servers'.
func ends(t *testing.T, n int) (clients []net.Conn, fds []*listener.FD) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for range n {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		s, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		fd, err := listener.Dup(s.(*net.TCPConn))
		_ = s.Close()
		if err != nil {
			t.Fatal(err)
		}
		clients, fds = append(clients, c), append(fds, fd)
	}
	return clients, fds
}

func ack() error { return nil }

func park(t *testing.T, l *Lot, k Key, fds []*listener.FD, p Position) {
	t.Helper()
	ps := make([]Position, len(fds))
	for i := range ps {
		ps[i] = p
	}
	if err := l.Park(k, fds, ps, ack); err != nil {
		t.Fatal(err)
	}
}

func next[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
		panic("unreachable")
	}
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Errorf("read %q, %v, want %q", b, err, want)
	}
}

// A connection arrives when its client says something, whole, and with what is known of it.
func TestLotArrival(t *testing.T) {
	l, c := newLot(t)
	clients, fds := ends(t, 3)
	k := Key{"socket", "http/1"}
	expires := time.Now().Add(time.Hour).Round(0)
	park(t, l, k, fds, Position{Expires: expires, State: []byte("GE")})
	write(t, clients[1], "T /")
	a := next(t, "arrival", c)
	defer a.c.Close()
	if a.key != k || string(a.p.State) != "GE" || a.p.Expires.Sub(expires).Abs() > time.Millisecond {
		t.Errorf("arrived as %+v", a)
	}
	read(t, a.c, "T /")
	_ = clients[0].Close() // an end is something to read too
	b := next(t, "arrival of an end", c)
	defer b.c.Close()
	if n, err := b.c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read %d bytes, %v", n, err)
	}
	select {
	case a := <-c:
		t.Errorf("the silent one arrived: %+v", a)
	case <-l.Empty():
		t.Error("the silent one is gone")
	default:
	}
}

// One that expires in the midst of something arrives, for its server to decide what to say; if connections leave, it leaves.
func TestLotExpiryOfBegun(t *testing.T) {
	l, c := newLot(t)
	_, fds := ends(t, 2)
	due := time.Now().Add(20 * time.Millisecond)
	p := Position{Expires: due, State: []byte("GE")}
	park(t, l, Key{}, fds[:1], p)
	a := next(t, "arrival", c)
	defer a.c.Close()
	if string(a.p.State) != "GE" || a.p.Expires.Sub(due).Abs() > time.Millisecond || time.Now().Before(due) {
		t.Errorf("%+v has arrived, want %+v", a.p, p)
	}
	next(t, "empty", l.Empty())

	p.Expires = time.Now().Add(20 * time.Millisecond)
	park(t, l, Key{}, fds[1:], p)
	d := &taking{}
	l.Depart(func(Key) Departure { return d })
	await(t, "left", 1, func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.conns)
	})
	l.Stay()
	d.keep()
	b := next(t, "arrival of the one that is kept", c)
	defer b.c.Close()
}

// One that expires is closed at its time, in the order of the times.
func TestLotExpiry(t *testing.T) {
	l, _ := newLot(t)
	clients, fds := ends(t, 3)
	soon, later := time.Now().Add(20*time.Millisecond), time.Now().Add(400*time.Millisecond)
	if err := l.Park(Key{}, fds, []Position{{Expires: later}, {}, {Expires: soon}}, ack); err != nil {
		t.Fatal(err)
	}
	gone := make(chan int, 3)
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			_, _ = c.Read(make([]byte, 1))
			gone <- i
		})
	}
	if first, second := next(t, "expiry", gone), next(t, "expiry", gone); first != 2 || second != 0 {
		t.Errorf("expired: %d, %d; want 2, 0", first, second)
	}
	if time.Now().Before(later) {
		t.Error("expired before its time")
	}
	l.Close()
	next(t, "end of the lot", gone)
	wg.Wait()
}

// Many at once, each in random state, while they come, leave, are kept and expire: none is lost.
func TestLotMany(t *testing.T) {
	l, c := newLot(t)
	const n = 500
	clients, fds := ends(t, n)
	ps := make([]Position, n)
	for i := range ps {
		ps[i].State = fmt.Append(nil, i)
		ps[i].Expires = time.Now().Add(time.Hour + time.Duration(i*7919%n)*time.Second)
	}
	for i := 0; i < n; i += 100 {
		if err := l.Park(Key{}, fds[i:i+100], ps[i:i+100], ack); err != nil {
			t.Fatal(err)
		}
	}
	d := &taking{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i, cl := range clients {
			_, _ = fmt.Fprintf(cl, "%03d", i)
		}
	})
	wg.Go(func() {
		for range 20 {
			l.Depart(func(Key) Departure { return d })
			d.leave()
			d.keep()
			l.Stay()
			d.keep() // what left by itself in between
		}
	})
	seen := map[string]bool{}
	for range n {
		a := next(t, "arrival", c)
		b := make([]byte, 3)
		_ = a.c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(a.c, b); err != nil {
			t.Fatal(err)
		}
		if got, err := strconv.Atoi(string(b)); err != nil || strconv.Itoa(got) != string(a.p.State) || seen[string(b)] {
			t.Errorf("%q arrived with the state %q (%v)", b, a.p.State, err)
		}
		seen[string(b)] = true
		_ = a.c.Close()
	}
	wg.Wait()
	next(t, "empty", l.Empty())
}
