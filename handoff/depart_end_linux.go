package handoff

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// stop ends the moving: what has not been sent stays here, and is told to leave in the ordinary way. What is in flight is
// still to be answered.
func (d *departure) stop(why string) {
	d.g.log.Warn("connections stay in this process until they are drained", "waiting", d.shut(), "reason", why)
}

// shut is stop without a word.
func (d *departure) shut() (kept int) {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return 0
	}
	d.close()
	var queued []live.Conn
	for _, l := range d.lanes {
		queued = append(queued, l.left...)
		kept += len(l.left) + len(l.offered)
		l.left, l.offered = nil, nil
	}
	d.queued = 0
	d.signal()
	d.mu.Unlock()
	d.stay()
	keep(queued)
	return kept
}

// close is called once. Callers hold mu.
func (d *departure) close() {
	d.closed = true
	close(d.stopped)
}

// stay tells who has connections that no more of them move: first, so that what is kept knows.
func (d *departure) stay() {
	d.g.exchange.Stay()
	d.g.lot.Stay()
}

// halted returns a channel that is closed once nothing is sent any more.
func (d *departure) halted() <-chan struct{} {
	if d == nil {
		return closed()
	}
	return d.stopped
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// flush waits until all that is queued has arrived, as long as the other process goes on taking it, and then ends the moving:
// nothing is accepted any more that could not be sent. Whoever ends a generation calls it before.
func (d *departure) flush() {
	if d == nil {
		return
	}
	for !d.shutIfIdle() {
		if d.await(d.flushed()) {
			d.stop(d.link.Who() + " has taken nothing for " + d.g.cfg.StepTimeout.String() + "; is it stopped or stuck?")
			return
		}
	}
}

// await waits until c is closed, or nothing moves any more. It reports whether it has given up instead, because the other process
// has not taken anything for StepTimeout, from now on, of what there is to take.
func (d *departure) await(c <-chan struct{}) (stuck bool) {
	for begun := time.Now(); ; {
		left := d.patience(begun)
		if left <= 0 {
			return true
		}
		t := time.NewTimer(left)
		select {
		case <-c:
		case <-d.stopped:
		case <-t.C:
			continue
		}
		t.Stop()
		return false
	}
}

// patience is for how long the other process may take nothing yet, if that counts from begun on.
func (d *departure) patience(begun time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.sending() {
		return d.g.cfg.StepTimeout
	}
	if d.progress.After(begun) {
		begun = d.progress
	}
	return d.g.cfg.StepTimeout - time.Since(begun)
}

// shutIfIdle is shut when there is nothing queued or in flight, and reports whether the moving has ended.
func (d *departure) shutIfIdle() bool {
	d.mu.Lock()
	if d.closed || !d.quiet() {
		defer d.mu.Unlock()
		return d.closed
	}
	d.close()
	d.signal()
	d.mu.Unlock()
	d.stay()
	return true
}

// end ends the moving for when there is nobody any more to answer. dead says that the other process has nothing of what is in
// flight: it is dead, or had not answered when it hung up, and so never reads from it; that stays here as well. If it may
// have some of it, or take it yet, nobody here reads from that any more: the own copies are closed without a word.
func (d *departure) end(dead bool) {
	if d == nil || !d.over.CompareAndSwap(false, true) {
		return
	}
	d.shut()
	<-d.done
	d.mu.Lock()
	flight := d.flight
	d.flight = nil
	moved := d.moved
	d.signal()
	d.mu.Unlock()
	lost := 0
	for _, s := range flight {
		if dead {
			keep(s.conns)
			continue
		}
		for _, c := range s.conns {
			c.Moved()
		}
		lost += len(s.conns)
	}
	<-d.swept
	if lost > 0 {
		d.g.log.Warn("connections were on their way when this process ended; the other process has them, or nobody", "connections", lost)
	}
	if moved > 0 {
		d.g.log.Info("no more connections move", "moved", moved)
	}
}

// overdue returns when the oldest batch in flight should have been answered; false if nothing is in flight.
func (d *departure) overdue() (time.Time, bool) {
	if d == nil {
		return time.Time{}, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.flight) == 0 {
		return time.Time{}, false
	}
	return d.flight[0].sent.Add(d.g.cfg.StepTimeout), true
}

// excuse begins the time of the oldest batch in flight anew, and returns how many connections are in flight.
func (d *departure) excuse() (waiting int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.flight {
		d.flight[i].sent = time.Now()
		waiting += len(d.flight[i].conns)
	}
	return waiting
}

// sending reports whether something is to be sent, or answered. Callers hold mu.
func (d *departure) sending() bool { return d.queued > 0 || d.picked > 0 || len(d.flight) > 0 }

// quiet reports whether all that was to move has, and is closed here. Callers hold mu.
func (d *departure) quiet() bool { return !d.sending() && len(d.arrived) == 0 && !d.sweeping }

// flushed returns a channel that is closed once nothing is queued or in flight.
func (d *departure) flushed() <-chan struct{} {
	if d == nil {
		return closed()
	}
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

// attend hears what the process at the other end of l says to batches, until the link or ctx ends. heard gets all else.
// d may be nil.
func (d *departure) attend(ctx context.Context, l *link.Link, heard func(wire.Message)) {
	for {
		f, err := l.Recv(ctx, l.Step)
		switch {
		case err == nil:
			f.Raw.Close()
			if m, ok := f.Msg.(*wire.Taken); ok {
				d.taken(m)
			} else {
				heard(f.Msg)
			}
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
			if t, ok := d.overdue(); ok && time.Now().After(t) {
				d.warnStuck()
			}
		default:
			return
		}
	}
}

// warnStuck tells the operator that batches are not answered, and gives them another StepTimeout.
func (d *departure) warnStuck() {
	d.g.log.Warn("connections wait for a process that does not answer; is it stopped or stuck?",
		"process", d.link.Peer.PID, "connections", d.excuse())
}
