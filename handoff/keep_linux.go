package handoff

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/rendezvous"
	"github.com/segue-go/segue/listener"
)

// keepRendezvous looks whether the rendezvous is still where callers look for it, and binds it again if it is not: cleaners
// of temporary files remove it, or its lock, and a directory may be removed and made again. Who starts the program then
// would take itself for the first, and find its addresses in use.
//
// It is called when an attempt begins, before anything is offered, and when this generation becomes the owner. What goes
// wrong is only logged: Upgrade works without a path.
func (g *Generation) keepRendezvous() { g.reportKept(g.tryToKeep()) }

// keepAfterAttempt is keepRendezvous at the end of an attempt, where the path may still be that of a failed successor,
// which is about to remove it.
func (g *Generation) keepAfterAttempt() {
	bound, err := g.tryToKeep()
	if !errors.Is(err, rendezvous.ErrTaken) {
		g.reportKept(bound, err)
		return
	}
	g.task(func() {
		select {
		case <-time.After(link.ExitGrace):
		case <-g.ctx.Done():
		}
		g.mu.Lock()
		busy := g.attempt != nil // which looks itself, and may have offered what there is
		g.mu.Unlock()
		if !busy {
			g.keepRendezvous()
		}
	})
}

func (g *Generation) reportKept(bound bool, err error) {
	switch {
	case err != nil && g.ctx.Err() == nil:
		g.log.Warn("the rendezvous was removed and cannot be bound again; only a signal or Upgrade starts a successor", "path", g.cfg.Path, "error", err)
	case bound:
		g.log.Warn("the rendezvous was removed; it is bound again", "path", g.cfg.Path)
	}
}

// tryToKeep reports whether it was bound again.
func (g *Generation) tryToKeep() (bound bool, err error) {
	if g.rendezvousInPlace() {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(g.ctx, g.cfg.StepTimeout)
	defer cancel()
	err = g.withLock(ctx, func() (err error) { // which makes the lock file again, too
		if !g.rendezvousInPlace() {
			bound, err = g.bindAgain()
		}
		return err
	})
	return bound && err == nil, err
}

// rendezvousInPlace reports whether there is nothing to do: the path and its lock are there, or are not this generation's to
// keep.
func (g *Generation) rendezvousInPlace() bool {
	g.mu.Lock()
	r := g.rendezvous
	mine := g.phase.owner() && !g.closing && g.cfg.Path != ""
	g.mu.Unlock()
	if !mine {
		return true
	}
	return r != nil && g.path().InPlace((*listener.UnixPath)(r.File()))
}

// bindAgain binds the rendezvous anew; the caller holds its lock. A socket there is removed only if nobody listens on it. A
// caller that has connected to the old one and was not accepted yet calls again.
func (g *Generation) bindAgain() (bool, error) {
	g.mu.Lock()
	old := g.rendezvous
	g.mu.Unlock()
	if err := g.bindRendezvous(); err != nil {
		return false, err
	}
	g.mu.Lock()
	r := g.rendezvous
	over := g.phase == PhaseStopped // letGo has been, or is to come: then it finds nothing
	if over {
		g.rendezvous = nil
	}
	g.mu.Unlock()
	if over {
		_ = r.CloseAs(true)
		return false, nil
	}
	if old != nil {
		_ = old.CloseAs(false)
	}
	return true, g.openRendezvous()
}

// maybeUnreachable adds to the EADDRINUSE of a generation that took itself for the first who may have the address.
func (g *Generation) maybeUnreachable(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cfg.Path == "" || g.predecessor != nil || g.phase != PhaseStarting {
		return err
	}
	return fmt.Errorf("%w; nobody answered at %s, but an incumbent may have the address whose rendezvous was removed, or that has "+
		"another Path: find it (ss -lnptux), and have it upgrade by its signal or Generation.Upgrade, which binds the rendezvous again; "+
		"or end it", err, g.cfg.Path)
}
