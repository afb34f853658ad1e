package live

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/segue-go/segue/listener"
)

// If the predecessor is not told, nothing has happened.
func TestLotNotAcknowledged(t *testing.T) {
	l, c := newLot(t)
	clients, fds := ends(t, 2)
	write(t, clients[0], "x")
	wantErr := errors.New("no")
	if err := l.Park(Key{}, fds, make([]Position, 2), func() error { return wantErr }); !errors.Is(err, wantErr) {
		t.Fatalf("got %v", err)
	}
	next(t, "empty", l.Empty())
	for _, fd := range fds {
		if err := fd.Close(); err != nil { // they are still ours
			t.Error(err)
		}
		if err := fd.Control(func(uintptr) {}); err == nil {
			t.Error("not closed")
		}
	}
	if len(c) != 0 {
		t.Error("something arrived")
	}
}

// While the predecessor is being told, which may take a while, nobody reads from what is parked, and everything else goes
// on: others arrive, and all depart.
func TestLotWhileAcknowledged(t *testing.T) {
	for _, departs := range []bool{false, true} {
		t.Run(map[bool]string{false: "stays", true: "departs"}[departs], func(t *testing.T) {
			l, c := newLot(t)
			clients, fds := ends(t, 3)
			park(t, l, Key{}, fds[:1], Position{})
			d := &taking{}
			err := l.Park(Key{}, fds[1:], make([]Position, 2), func() error {
				for _, cl := range clients {
					write(t, cl, "x")
				}
				_ = next(t, "arrival of the one that was parked before", c).c.Close()
				if departs {
					l.Depart(func(Key) Departure { return d })
					if len(d.offered) > 0 {
						t.Error("what is not acknowledged is offered")
					}
				}
				select {
				case <-l.Empty():
					t.Error("it is empty")
				default:
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if departs {
				if len(d.conns) != 2 {
					t.Errorf("%d connections move, want 2", len(d.conns))
				}
				l.Stay()
				d.keep()
			}
			for range 2 {
				_ = next(t, "arrival", c).c.Close()
			}
			next(t, "empty", l.Empty())
		})
	}
}

// A lot that is closed while the predecessor is being told closes what is parked.
func TestLotClosedWhileAcknowledged(t *testing.T) {
	l, c := newLot(t)
	clients, fds := ends(t, 1)
	if err := l.Park(Key{}, fds, make([]Position, 1), func() error { l.Close(); return nil }); err != nil {
		t.Fatal(err)
	}
	_ = clients[0].SetReadDeadline(time.Now().Add(patience))
	if n, err := clients[0].Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the client reads %d bytes, %v", n, err)
	}
	if len(c) != 0 {
		t.Error("something arrived")
	}
}

// What leaves does not arrive, however much its client says; what is kept does, then.
func TestLotDepart(t *testing.T) {
	l, c := newLot(t)
	clients, fds := ends(t, 4)
	k, other := Key{"socket", "http/1"}, Key{"another", "http/1"}
	park(t, l, k, fds[:2], Position{State: []byte("s")})
	park(t, l, other, fds[2:3], Position{})
	d := &taking{}
	l.Depart(func(key Key) Departure {
		if key == k {
			return d
		}
		return nil
	})
	d.leave()
	park(t, l, k, fds[3:], Position{}) // goes on at once
	if len(d.conns) != 3 {
		t.Fatalf("%d connections leave, want 3", len(d.conns))
	}
	for _, cl := range clients {
		write(t, cl, "hello")
	}
	a := next(t, "arrival of the one that stays", c)
	defer a.c.Close()
	if a.key != other {
		t.Errorf("arrived: %+v", a)
	}
	// As if the successor had it: somebody holds a copy, and the client notices nothing.
	moved := d.conns[0]
	if p := moved.Position(); string(p.State) != "s" || !p.Expires.IsZero() {
		t.Errorf("position %+v", p)
	}
	own, err := listener.Dup(moved)
	if err != nil {
		t.Fatal(err)
	}
	moved.Moved()
	conn, err := listener.ConnFromFD(own)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	read(t, conn, "hello")
	if len(c) != 0 {
		t.Error("one that had left arrived")
	}
	l.Stay()
	d.conns[1].Kept()
	d.conns[2].Kept()
	for range 2 {
		a := next(t, "arrival of one that was kept", c)
		read(t, a.c, "hello")
		_ = a.c.Close()
	}
	next(t, "empty", l.Empty())
}

// A departure that is over takes nothing, and the connection stays.
func TestLotDepartTooLate(t *testing.T) {
	l, c := newLot(t)
	clients, fds := ends(t, 2)
	park(t, l, Key{}, fds[:1], Position{})
	d := &taking{no: true}
	l.Depart(func(Key) Departure { return d })
	park(t, l, Key{}, fds[1:], Position{})
	for _, cl := range clients {
		write(t, cl, "x")
		_ = next(t, "arrival", c).c.Close()
	}
}

// One that expires while it moves is closed only if it is kept.
func TestLotExpiresMoving(t *testing.T) {
	l, _ := newLot(t)
	clients, fds := ends(t, 1)
	park(t, l, Key{}, fds, Position{Expires: time.Now().Add(10 * time.Millisecond)})
	d := &taking{}
	l.Depart(func(Key) Departure { return d })
	d.leave()
	_ = clients[0].SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := clients[0].Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	d.conns[0].Kept()
	_ = clients[0].SetReadDeadline(time.Now().Add(patience))
	if _, err := clients[0].Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("got %v", err)
	}
}

// TestLotEvict: what cannot leave arrives though its client is silent, also what comes back later; what can leave stays
// where it is.
func TestLotEvict(t *testing.T) {
	l, c := newLot(t)
	l.Evict() // before there is anything
	l.Depart(func(Key) Departure { return nil })
	_, fds := ends(t, 5)
	here, there := Key{Protocol: "here"}, Key{Protocol: "there"}
	park(t, l, here, fds[:2], Position{State: []byte("s"), Expires: time.Now().Add(time.Hour)})
	park(t, l, there, fds[2:], Position{})
	d := &taking{}
	l.Depart(func(k Key) Departure {
		if k == there {
			return d
		}
		return nil
	})
	l.Evict()
	for range 2 {
		a := next(t, "arrival", c)
		if a.key != here || string(a.p.State) != "s" || time.Until(a.p.Expires) < time.Minute {
			t.Errorf("%+v arrived", a)
		}
		_ = a.c.Close()
	}
	d.leave()
	l.Stay()
	l.Evict()
	d.keep()
	for range 3 {
		_ = next(t, "arrival of what was kept", c).c.Close()
	}
	next(t, "empty", l.Empty())
	if len(c) != 0 {
		t.Error("something arrived twice")
	}
}
