package handoff_test

import (
	"testing"
	"time"

	"github.com/segue-go/segue/handoff/internal/wire"
)

// TestConnsAtTheEnd: what leaves when its request has been answered still moves when the generation is being closed.
func TestConnsAtTheEnd(t *testing.T) {
	path := rendezvous(t)
	a, l := first(t, longGuard(t, path))
	cr, _ := newCrowd(t, l, 1)
	cr.change(func() {
		cr.conns[0].busy = true
		cr.finish = func() {
			if !cr.departure().Move(cr.conns[0]) {
				t.Error("it must stay")
			}
		}
	})
	s := mover(t, path)
	s.confirmed(10)
	cr.until(t, "departure", func() bool { return cr.d != nil })
	closed := make(chan error)
	go func() { closed <- a.Close() }()
	s.send(&wire.Taken{Batch: s.conns(1).Batch, Room: 10})
	if err := <-closed; err != nil {
		t.Error(err)
	}
	cr.outcome(t, 1, 0)
}

// TestCloseRefused: a generation that is being closed does not wait for what its predecessor passes on, if that cannot move
// any more.
func TestCloseRefused(t *testing.T) {
	path := rendezvous(t)
	first(t, config(t, path)) // and is never drained
	c := longGuard(t, path)
	c.DrainTimeout = time.Hour
	b := join(t, c)
	l := listen(t, b, "tcp", "127.0.0.1:0")
	ready(t, b)
	cr, _ := newCrowd(t, l, 1)
	cr.change(func() { cr.conns[0].busy = true })
	s := mover(t, path)
	s.confirmed(10)
	cr.until(t, "departure", func() bool { return cr.d != nil })
	closed := make(chan error)
	go func() { closed <- b.Close() }()
	if !cr.departure().Move(cr.conns[0]) {
		t.Error("it must stay")
	}
	s.send(&wire.Taken{Batch: s.conns(1).Batch, Refused: "no"})
	if err := <-closed; err != nil {
		t.Error(err)
	}
	cr.outcome(t, 0, 1)
}
