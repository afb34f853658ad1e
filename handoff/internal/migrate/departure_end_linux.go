package migrate

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// giveUp halts the departure, and tells the operator why.
func (d *Departure) giveUp(why string) {
	d.log.Warn("connections stay in this process until they are drained", "waiting", d.stop(), "reason", why)
}

// stop halts the departure: what has not been sent stays here, and is told to leave in the ordinary way. What is in flight is
// still to be answered. It returns how many stay.
func (d *Departure) stop() (kept int) {
	d.mu.Lock()
	if d.halted {
		d.mu.Unlock()
		return 0
	}
	d.stopLocked()
	var left []live.Conn
	given := 0
	for _, l := range d.lanes {
		left = append(left, l.left...)
		n := len(l.left) + len(l.toAsk)
		kept += n
		if l.head.Protocol == "" {
			given += n
		}
		l.left, l.toAsk = nil, nil
	}
	d.queued = 0
	d.signal()
	d.mu.Unlock()
	d.stay()
	keep(left)
	for _, t := range []Told{{Given: true, Count: given, Kept: true}, {Count: kept - given, Kept: true}} {
		if t.Count > 0 {
			d.tell(t)
		}
	}
	d.bulk()
	return kept
}

// stopLocked is called once. Callers hold mu, and call stay after it.
func (d *Departure) stopLocked() {
	d.halted = true
	close(d.halt)
}

// stopIfIdle halts the departure when there is nothing queued or in flight, and reports whether it is halted.
func (d *Departure) stopIfIdle() bool {
	d.mu.Lock()
	if d.halted || !d.quiet() {
		defer d.mu.Unlock()
		return d.halted
	}
	d.stopLocked()
	d.signal()
	d.mu.Unlock()
	d.stay()
	return true
}

// stay tells who has connections that no more of them move: first, so that what is kept knows.
func (d *Departure) stay() {
	d.c.Exchange.Stay()
	d.c.lot.Stay()
}

// drain waits until all that is queued has arrived, as long as the other process goes on taking it, and then halts the
// departure: nothing is accepted any more that could not be sent.
func (d *Departure) drain() {
	for !d.stopIfIdle() {
		if d.await(d.untilIdle()) {
			d.giveUp(d.link.Who() + " has taken nothing for " + d.c.cfg.StepTimeout.String() + "; is it stopped or stuck?")
			return
		}
	}
}

// untilIdle returns a channel that is closed once nothing is queued or in flight.
func (d *Departure) untilIdle() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	idle := make(chan struct{})
	if d.idle != nil {
		idle = d.idle
	}
	d.idle = idle
	d.signal()
	return idle
}

// await waits until c is closed, or nothing moves any more. It reports whether it has given up instead, because the other process
// has not taken anything for StepTimeout, from now on, of what there is to take.
func (d *Departure) await(c <-chan struct{}) (stuck bool) {
	for begun := time.Now(); ; {
		left := d.patience(begun)
		if left <= 0 {
			return true
		}
		t := time.NewTimer(left)
		select {
		case <-c:
		case <-d.halt:
		case <-t.C:
			continue
		}
		t.Stop()
		return false
	}
}

// patience is for how long the other process may take nothing yet, if that counts from begun on.
func (d *Departure) patience(begun time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.sending() {
		return d.c.cfg.StepTimeout
	}
	if d.progress.After(begun) {
		begun = d.progress
	}
	return d.c.cfg.StepTimeout - time.Since(begun)
}

// End ends the departure for when there is nobody any more to answer. dead says that the other process has nothing of what is in
// flight: it is dead, or had not answered when it hung up, and so never reads from it; that stays here as well. If it may
// have some of it, or take it yet, nobody here reads from that any more: the own copies are closed without a word. A second
// call does nothing.
func (d *Departure) End(dead bool) {
	if !d.ended.CompareAndSwap(false, true) {
		return
	}
	d.stop()
	<-d.runEnded
	d.mu.Lock()
	inFlight := d.inFlight
	d.inFlight = nil
	moved := d.moved
	d.signal()
	d.mu.Unlock()
	unanswered := 0
	for _, b := range inFlight {
		if dead {
			keep(b.conns)
			continue
		}
		for _, c := range b.conns {
			c.Moved()
		}
		unanswered += len(b.conns)
	}
	<-d.copiesClosed
	if unanswered > 0 {
		d.log.Warn("connections were on their way when this process ended; the other process has them, or nobody", "connections", unanswered)
	}
	if moved > 0 {
		d.log.Info("no more connections move", "moved", moved)
	}
}

// Overdue returns when the oldest batch in flight should have been answered; false if nothing is in flight.
func (d *Departure) Overdue() (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.inFlight) == 0 {
		return time.Time{}, false
	}
	return d.inFlight[0].sent.Add(d.c.cfg.StepTimeout), true
}

// Excuse gives all batches in flight another StepTimeout, and returns how many connections that are.
func (d *Departure) Excuse() (waiting int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.inFlight {
		d.inFlight[i].sent = time.Now()
		waiting += len(d.inFlight[i].conns)
	}
	return waiting
}

// WarnStuck tells the operator that batches are not answered, and gives them another StepTimeout.
func (d *Departure) WarnStuck() {
	d.log.Warn("connections wait for a process that does not answer; is it stopped or stuck?",
		"process", d.link.Peer.PID, "connections", d.Excuse())
}

// attend hears what the process at the other end of l says to batches, until the link or ctx ends. All else means nothing.
func (d *Departure) attend(ctx context.Context, l *link.Link) {
	for {
		f, err := l.Recv(ctx, d.c.cfg.StepTimeout)
		switch {
		case err == nil:
			f.Raw.Close()
			if m, ok := f.Msg.(*wire.Taken); ok {
				d.Taken(m)
			}
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
		default:
			return
		}
		if t, ok := d.Overdue(); ok && time.Now().After(t) { // also of one that goes on to say something else
			d.WarnStuck()
		}
	}
}
