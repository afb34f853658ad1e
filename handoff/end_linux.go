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
	if g.handingBack() { // the predecessor owns, and says at once what it takes
		g.awaitReturn(context.Background())
	}
	g.mu.Lock()
	g.flushed = true
	d := g.departure
	open := d.open()
	g.mu.Unlock()
	if open {
		within := g.cfg.DrainTimeout
		if within <= 0 {
			within = defaultDrainTimeout // somebody waits for Close
		}
		ctx, cancel := context.WithDeadline(context.Background(), begun.Add(within))
		g.finish(ctx, d)
		cancel()
	}
	d.flush()
}

// finish waits for what is going to move by d: what is being answered, here or upstream, from where it is passed on to
// here. It gives up when ctx ends, when nothing moves any more, and when the other process is stuck.
func (g *Generation) finish(ctx context.Context, d *departure) {
	<-d.offered
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, gone := range g.upstream() {
			select {
			case <-gone:
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
	d.await(done) // done is closed soon after the end of ctx; flush says so if the other process is stuck
	cancel()
	<-done
}

// settle waits until nothing is on its way to or from this generation any more, so that it can end. It reports whether
// connections have come since there had been n. What is parked and cannot move on is given to its server, which tells the
// client to leave; but not if s is over by a revival.
func (g *Generation) settle(ctx context.Context, s *superseding, n int) (more bool) {
	for _, gone := range g.upstream() { // it may have connections to pass on, until it is drained itself
		select {
		case <-gone:
		case <-ctx.Done():
			return false
		}
	}
	g.mu.Lock()
	d := g.departure
	g.mu.Unlock()
	g.lot.Evict() // what the other process does not take
	select {
	case <-g.lot.Empty():
	case <-d.halted():
		if s.revived.happened() { // before the departure ended
			return false
		}
		g.lot.Evict()
	case <-ctx.Done():
		return false
	}
	for _, c := range []<-chan struct{}{g.lot.Empty(), d.flushed()} {
		select {
		case <-c:
		case <-ctx.Done():
			return false
		}
	}
	return g.arrived() != n
}

// upstream are the processes that may pass connections on to this generation. Each is a channel that is closed when the
// process is gone.
func (g *Generation) upstream() []<-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []<-chan struct{}
	if p := g.predecessor; p != nil && !g.toPredecessor.HandedBack() {
		all = append(all, p.gone.c)
	}
	for _, r := range g.returners {
		all = append(all, r.gone.c)
	}
	return all
}

// arrived counts the connections that came to this generation's program so far.
func (g *Generation) arrived() int { return g.exchange.Arrivals() + g.gifts.count() }
