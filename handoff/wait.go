package handoff

import (
	"context"
	"errors"
	"time"
)

// errRevived ends the context of a drain function.
var errRevived = errors.New("this generation was revived")

// Wait returns nil when this generation's work is done: a successor has taken over and confirmed, drain has returned,
// and the guard is over. Accept then gives net.ErrClosed. A nil drain has nothing to wait for.
//
// drain is called when the generation is superseded. It waits until what this generation has accepted is served; its
// context ends after DrainTimeout. If the successor dies while this generation guards it, drain's context ends, Accept
// goes on as if nothing had happened, and Wait waits for the next successor: what drain does must be reversible until
// [Generation.Released].
//
// If the state that went to a successor must not be behind (see [RevivalForbid]), and that successor dies, the generation
// is over: drain's context ends, and Wait returns an error that is [ErrStale].
//
// If the successor dies after the guard, while this generation still drains, nobody serves. The drain goes on, and then
// Wait returns an error that is [ErrSuccessorDied]. An end that somebody wished is none: exit status 0, SIGTERM, SIGINT, or
// Close; nor is that of a successor that has handed over to one of its own. Where the kernel does not tell how a process
// ended that is no child (before Linux 6.15), or the parent does not reap it within StepTimeout, only Close is a wish.
//
// If ctx ends first, Wait returns its cause and leaves the generation as it is. If the generation is closed, it returns
// an error that is net.ErrClosed. If it handed the sockets back, Wait calls drain, waits until the connections have returned
// to the predecessor or are drained, and returns an error that is ErrHandedBack and wraps that of Check (see
// [Generation.Fail]). An error of drain, other than that of its context, is returned.
func (g *Generation) Wait(ctx context.Context, drain func(context.Context) error) error {
	if drain == nil {
		drain = func(context.Context) error { return nil }
	}
	for {
		g.mu.Lock()
		s := g.succession
		g.mu.Unlock()
		select {
		case <-ctx.Done():
			return g.errorf("wait", context.Cause(ctx))
		case <-g.ctx.Done():
			return g.errorf("wait", g.ended(ctx, drain))
		case <-g.back.Done():
			return g.errorf("wait", g.handedBack(ctx, drain))
		case <-s.superseded.c:
		}
		begun := time.Now()
		err := g.drain(ctx, s, drain)
		select {
		case <-s.revived.c:
			continue
		case <-g.released.c:
		case <-ctx.Done():
		}
		g.mu.Lock()
		stale := g.stale
		g.mu.Unlock()
		if stale != nil {
			return g.errorf("wait", stale)
		}
		if ctx.Err() != nil { // also if the guard is over as well: drain may have been cut short
			return g.errorf("wait", context.Cause(ctx))
		}
		if g.ctx.Err() != nil {
			return g.errorf("wait", g.ended(ctx, drain))
		}
		g.flush(begun, g.cfg.DrainTimeout) // also what a drain that was cut short has given
		g.log.Info("drained; this generation is done")
		died := g.bye()
		g.stop()
		if died != nil {
			err = errors.Join(died, err)
		}
		return g.errorf("wait", err)
	}
}

// ended says why a generation that was not superseded is over.
func (g *Generation) ended(ctx context.Context, drain func(context.Context) error) error {
	g.mu.Lock()
	closed, stale := g.closedLocked(), g.stale
	g.mu.Unlock()
	switch {
	case stale != nil:
		return stale
	case g.back.Err() != nil:
		return g.handedBack(ctx, drain)
	default:
		return closed
	}
}

// handedBack ends a generation whose sockets went back, and says why they did.
func (g *Generation) handedBack(ctx context.Context, drain func(context.Context) error) error {
	g.conns.AwaitReturn(ctx) // first, so that nobody is told to leave whose connection can return
	g.mu.Lock()
	s := g.succession
	g.mu.Unlock()
	begun := time.Now()
	err := errors.Join(context.Cause(g.back), g.drain(ctx, s, drain))
	if ctx.Err() != nil { // it is left as it is
		return errors.Join(err, context.Cause(ctx))
	}
	g.flush(begun, g.cfg.DrainTimeout)
	g.log.Info("drained; this generation is done")
	_ = g.bye()
	g.stop()
	return err
}

// drain calls the program's drain function with a context that ends on revival, with ctx, and after DrainTimeout.
func (g *Generation) drain(ctx context.Context, s *superseding, drain func(context.Context) error) error {
	if s.revived.happened() {
		return nil // before it began
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if d := g.cfg.DrainTimeout; d > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, d)
		defer stop()
	}
	s.drain(cancel)
	arrived := g.conns.Arrived()
	err := drain(ctx)
	for err == nil && g.conns.Quiesce(ctx, s.revived.c, arrived) { // what has come since is to be drained too
		arrived = g.conns.Arrived()
		err = drain(ctx)
	}
	switch {
	case err == nil || s.revived.happened():
		return nil
	case ctx.Err() != nil && only(err, context.Cause(ctx)):
		g.log.Warn("drain was ended before it was done", "cause", context.Cause(ctx))
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
