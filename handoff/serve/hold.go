package serve

import (
	"context"
	"time"
)

// Hold is of [live.Server].
//
// A connection whose next header has begun to arrive is held where it is if it is recorded. Otherwise it gets half of
// the time to complete it; after that, its request waits at the gate, as the requests on connections that cannot move
// do from the beginning.
func (t *tracker) Hold(ctx context.Context) error {
	t.mu.Lock()
	t.held = true
	t.set(true)
	t.mu.Unlock()
	t.st.gate.shut()

	var half <-chan time.Time
	if deadline, ok := ctx.Deadline(); ok {
		timer := time.NewTimer(time.Until(deadline) / 2)
		defer timer.Stop()
		half = timer.C
	}
	// None that is quiet becomes busy, and none that is made or arrives from now on gets beyond its first Read.
	busy := t.all()
	late := false
	for {
		if busy = stillBusy(busy, late); len(busy) == 0 {
			break
		}
		select {
		case <-t.poked:
		case <-half:
			late = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return t.st.gate.quiet(ctx)
}

// stillBusy returns those for which a hold has to wait yet. If it is late, only requests are waited for.
func stillBusy(conns []*tracked, late bool) []*tracked {
	busy := conns[:0]
	for _, c := range conns {
		c.mu.Lock()
		switch {
		case c.quiet():
		case late && c.stand.inHeader():
			c.apart = true
		default:
			busy = append(busy, c)
		}
		c.mu.Unlock()
	}
	return busy
}

// poke makes Hold look again.
func (t *tracker) poke() {
	if !t.mode().holding() {
		return
	}
	select {
	case t.poked <- struct{}{}:
	default:
	}
}

// Resume is of [live.Server].
func (t *tracker) Resume() {
	t.mu.Lock()
	held := t.held
	t.held = false
	t.set(false)
	t.mu.Unlock()
	t.st.gate.open(held)
	t.free()
}
