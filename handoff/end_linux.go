package handoff

import (
	"context"
	"time"
)

// flush lets what is moving arrive, or is about to move, before this generation ends. After it nothing moves any more. What
// has been asked of this generation is answered before, within DrainTimeout from begun on.
func (g *Generation) flush(begun time.Time) {
	g.mu.Lock()
	var settled event
	if g.attempt != nil {
		settled = g.attempt.settled
	}
	g.mu.Unlock()
	if settled.c != nil { // the successor owns, or is about to, and says so at once
		t := time.NewTimer(g.cfg.StepTimeout)
		defer t.Stop()
		select {
		case <-settled.c:
		case <-t.C:
		}
	}
	g.mu.Lock()
	g.flushed = true
	d, p := g.departure, g.predecessor
	open := d.open()
	g.mu.Unlock()
	if open {
		within := g.cfg.DrainTimeout
		if within <= 0 {
			within = defaultDrainTimeout // somebody waits for Close
		}
		ctx, cancel := context.WithDeadline(context.Background(), begun.Add(within))
		g.finish(ctx, d, p)
		cancel()
	}
	d.flush()
}

// finish waits for what is going to move by d: what is being answered, here or in p, which passes it on to here. It gives up
// when ctx ends, when nothing moves any more, and when the successor is stuck.
func (g *Generation) finish(ctx context.Context, d *departure, p *predecessor) {
	<-d.offered
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if p != nil {
			select {
			case <-p.gone.c:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-g.lot.Arrived(): // it may be asked something
		case <-ctx.Done():
			return
		}
		g.exchange.Finish(ctx)
	}()
	d.await(done) // done is closed soon after the end of ctx; flush says so if the successor is stuck
	cancel()
	<-done
}

// settle waits until nothing is on its way to or from this generation any more, so that it can end. It reports whether
// connections have come since there had been n.
func (g *Generation) settle(ctx context.Context, n int) (more bool) {
	g.mu.Lock()
	p, d := g.predecessor, g.departure
	g.mu.Unlock()
	if p != nil { // it may have connections to pass on, until it is drained itself
		select {
		case <-p.gone.c:
		case <-ctx.Done():
			return false
		}
	}
	waits := []<-chan struct{}{g.lot.Empty()}
	if d != nil {
		waits = append(waits, d.flushed())
	}
	for _, c := range waits {
		select {
		case <-c:
		case <-ctx.Done():
			return false
		}
	}
	return g.arrived() != n
}

// arrived counts the connections that came to this generation's program so far.
func (g *Generation) arrived() int { return g.exchange.Arrivals() + g.gifts.count() }
