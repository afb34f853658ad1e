package handoff_test

import (
	"testing"

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
