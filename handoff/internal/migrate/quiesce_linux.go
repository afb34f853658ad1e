package migrate

import (
	"context"
	"time"
)

// Flush lets what is moving arrive, or is about to move, before this process ends. After it nothing moves any more. What has been
// asked of this process is answered before, within that time from begun on.
func (c *Conns) Flush(begun time.Time, within time.Duration) {
	c.AwaitReturn(context.Background()) // who has the sockets again says at once what it takes
	c.mu.Lock()
	c.ended = true
	d := c.departure
	c.mu.Unlock()
	if d.open() {
		ctx, cancel := context.WithDeadline(context.Background(), begun.Add(within))
		c.finish(ctx, d)
		cancel()
	}
	d.drain()
}

// finish waits for what is going to move by d: what is being answered, here or upstream, from where it is passed on to
// here. It gives up when ctx ends, when nothing moves any more, and when the other process is stuck.
func (c *Conns) finish(ctx context.Context, d *Departure) {
	<-d.announced
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, gone := range c.upstream() {
			if !closes(ctx, gone) {
				return
			}
		}
		if closes(ctx, c.lot.Arrived()) { // it may be asked something
			c.Exchange.Finish(ctx)
		}
	}()
	d.await(done) // done is closed soon after the end of ctx; drain says so if the other process is stuck
	cancel()
	<-done
}

// Quiesce waits until nothing is on its way to or from this process any more, so that it can end. It reports whether connections
// have come since there had been n. What is parked and cannot move on is given to its server, which tells the client to leave;
// but not if the process has been revived.
func (c *Conns) Quiesce(ctx context.Context, revived <-chan struct{}, n int) (more bool) {
	for _, gone := range c.upstream() { // it may have connections to pass on, until it is drained itself
		if !closes(ctx, gone) {
			return false
		}
	}
	d := c.current()
	c.lot.Evict() // what the other process does not take
	select {
	case <-c.lot.Empty():
	case <-d.halt:
		select {
		case <-revived: // before the departure ended
			return false
		default:
		}
		c.lot.Evict()
	case <-ctx.Done():
		return false
	}
	if !closes(ctx, c.lot.Empty()) || !closes(ctx, d.untilIdle()) {
		return false
	}
	return c.Arrived() != n
}

// closes waits until done is closed. It reports false if ctx ends first.
func closes(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// Arrived counts the connections that came to the program so far.
func (c *Conns) Arrived() int { return c.Exchange.Arrivals() + c.gifts.count() }
