package driver

import (
	"context"
	"errors"
	"time"
)

// errRevived ends the context of a drain function.
var errRevived = errors.New("this generation was revived")

// Wait returns when a generation that was superseded, or has ended, is drained: see handoff.Generation.
func (d *Driver) Wait(ctx context.Context, drain func(context.Context) error) error {
	if drain == nil {
		drain = func(context.Context) error { return nil }
	}
	for {
		d.mu.Lock()
		s := d.superseding
		d.mu.Unlock()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.ctx.Done():
			return d.ended(ctx, drain)
		case <-d.handedBack.Done():
			return d.drainHandedBack(ctx, drain)
		case <-s.superseded.c:
		}
		begun := time.Now()
		err := d.drain(ctx, s, drain)
		select {
		case <-s.revived.c:
			continue
		case <-d.released.c:
		case <-ctx.Done():
		}
		d.mu.Lock()
		stale := d.stale
		d.mu.Unlock()
		if stale != nil {
			return stale
		}
		if ctx.Err() != nil { // also if the guard is over as well: drain may have been cut short
			return context.Cause(ctx)
		}
		if d.ctx.Err() != nil {
			return d.ended(ctx, drain)
		}
		within := d.cfg.DrainTimeout
		if s.isRetired() {
			within = time.Nanosecond // that time is over; 0 would be as long as it takes
		}
		d.flush(begun, within) // also what a drain that was cut short has given
		d.drained()
		d.log.Info("drained; this generation is done")
		died := d.sayBye()
		d.stop()
		if died != nil {
			err = errors.Join(died, err)
		}
		return err
	}
}

// ended says why a generation that was not superseded is over.
func (d *Driver) ended(ctx context.Context, drain func(context.Context) error) error {
	d.mu.Lock()
	closed, stale := d.closedLocked(), d.stale
	d.mu.Unlock()
	switch {
	case stale != nil:
		return stale
	case d.handedBack.Err() != nil:
		return d.drainHandedBack(ctx, drain)
	default:
		return closed
	}
}

// drainHandedBack ends a generation whose sockets went back, and says why they did.
func (d *Driver) drainHandedBack(ctx context.Context, drain func(context.Context) error) error {
	d.Conns.AwaitReturn(ctx) // first, so that nobody is told to leave whose connection can return
	d.mu.Lock()
	s := d.superseding
	d.mu.Unlock()
	begun := time.Now()
	err := errors.Join(context.Cause(d.handedBack), d.drain(ctx, s, drain))
	if ctx.Err() != nil { // it is left as it is
		return errors.Join(err, context.Cause(ctx))
	}
	d.flush(begun, d.cfg.DrainTimeout)
	d.log.Info("drained; this generation is done")
	_ = d.sayBye()
	d.stop()
	return err
}

// drain calls the program's drain function with a context that ends on revival, with ctx, and after DrainTimeout.
func (d *Driver) drain(ctx context.Context, s *superseding, drain func(context.Context) error) error {
	if s.revived.happened() {
		return nil // before it began
	}
	ctx, kept := s.retirable(ctx)
	defer kept()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if within := d.cfg.DrainTimeout; within > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, within)
		defer stop()
	}
	s.drain(cancel)
	s.calls(time.Now())
	defer s.calls(time.Time{})
	arrived := d.Conns.Arrived()
	err := drain(ctx)
	for err == nil && d.Conns.Quiesce(ctx, s.revived.c, arrived) { // what has come since is to be drained too
		arrived = d.Conns.Arrived()
		err = drain(ctx)
	}
	switch {
	case err == nil || s.revived.happened():
		return nil
	case ctx.Err() != nil && only(err, context.Cause(ctx)):
		if errors.Is(ctx.Err(), context.DeadlineExceeded) { // otherwise the caller has ended it, and may finish what is left
			d.log.Warn("drain was ended before it was done", "cause", context.Cause(ctx))
		}
		return nil
	default:
		return err
	}
}

// only reports whether err says nothing but that its context ended.
func only(err, cause error) bool {
	switch e := err.(type) { //nolint:errorlint // it takes the chain apart itself
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if !only(inner, cause) {
				return false
			}
		}
		return true
	case interface{ Unwrap() error }:
		return only(e.Unwrap(), cause)
	default:
		return errors.Is(err, cause) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	}
}
