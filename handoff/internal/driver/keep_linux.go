package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/rendezvous"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/listener"
)

// keepRendezvous looks whether the rendezvous is still where callers look for it, and binds it again if it is not: cleaners
// of temporary files remove it, or its lock, and a directory may be removed and made again. Who starts the program then
// would take itself for the first, and find its addresses in use.
//
// It is called when an attempt begins, before anything is offered, and when this generation becomes the owner. What goes
// wrong is only logged: Upgrade works without a path.
func (d *Driver) keepRendezvous() { d.reportKept(d.tryToKeep()) }

// keepAfterAttempt is keepRendezvous at the end of an attempt, where the path may still be that of a failed successor,
// which is about to remove it.
func (d *Driver) keepAfterAttempt() {
	bound, err := d.tryToKeep()
	if !errors.Is(err, rendezvous.ErrTaken) {
		d.reportKept(bound, err)
		return
	}
	d.task(func() {
		select {
		case <-time.After(link.ExitGrace):
		case <-d.ctx.Done():
		}
		d.mu.Lock()
		busy := d.attempt != nil // which looks itself, and may have offered what there is
		d.mu.Unlock()
		if !busy {
			d.keepRendezvous()
		}
	})
}

func (d *Driver) reportKept(bound bool, err error) {
	switch {
	case err != nil && d.ctx.Err() == nil:
		d.log.Warn("the rendezvous was removed and cannot be bound again; only a signal or Upgrade starts a successor", "path", d.cfg.Path, "error", err)
	case bound:
		d.log.Warn("the rendezvous was removed; it is bound again", "path", d.cfg.Path)
	}
}

// tryToKeep reports whether it was bound again.
func (d *Driver) tryToKeep() (bound bool, err error) {
	if d.rendezvousInPlace() {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(d.ctx, d.cfg.StepTimeout)
	defer cancel()
	err = d.withLock(ctx, func() (err error) { // which makes the lock file again, too
		if !d.rendezvousInPlace() {
			bound, err = d.bindAgain()
		}
		return err
	})
	return bound && err == nil, err
}

// rendezvousInPlace reports whether there is nothing to do: the path and its lock are there, or are not this generation's to
// keep.
func (d *Driver) rendezvousInPlace() bool {
	d.mu.Lock()
	r := d.rendezvous
	mine := d.phase.Owns() && !d.closing && d.cfg.Path != ""
	d.mu.Unlock()
	if !mine {
		return true
	}
	return r != nil && d.path().InPlace((*listener.UnixPath)(r.File()))
}

// bindAgain binds the rendezvous anew; the caller holds its lock. A socket there is removed only if nobody listens on it. A
// caller that has connected to the old one and was not accepted yet calls again.
func (d *Driver) bindAgain() (bool, error) {
	d.mu.Lock()
	old := d.rendezvous
	d.mu.Unlock()
	if err := d.bindRendezvous(); err != nil {
		return false, err
	}
	d.mu.Lock()
	r := d.rendezvous
	over := d.phase == succession.PhaseStopped // closeChain has been, or is to come: then it finds nothing
	if over {
		d.rendezvous = nil
	}
	d.mu.Unlock()
	if over {
		_ = r.CloseAs(true)
		return false, nil
	}
	if old != nil {
		_ = old.CloseAs(false)
	}
	return true, d.openRendezvous()
}

// maybeUnreachable adds to the EADDRINUSE of a generation that took itself for the first who may have the address.
func (d *Driver) maybeUnreachable(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cfg.Path == "" || d.predecessor != nil || d.phase != succession.PhaseStarting {
		return err
	}
	return fmt.Errorf("%w; nobody answered at %s, but an incumbent may have the address whose rendezvous was removed, or that has "+
		"another Path: find it (ss -lnptux), and have it upgrade by its signal or Generation.Upgrade, which binds the rendezvous again; "+
		"or end it", err, d.cfg.Path)
}
