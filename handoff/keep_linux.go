package handoff

import (
	"context"
	"errors"
	"fmt"

	"github.com/segue-go/segue/handoff/internal/link"
	"golang.org/x/sys/unix"
)

// errElsewhere: the path has somebody else's socket.
var errElsewhere = errors.New("somebody else listens there; end that process, or give one of the two another Path")

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
	if !errors.Is(err, errElsewhere) {
		g.reportKept(bound, err)
		return
	}
	g.task(func() {
		pause(g.ctx, link.ExitGrace)
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
	var st unix.Stat_t
	if r == nil || unix.Lstat(g.lockName(), &st) != nil || unix.Lstat(g.cfg.Path, &st) != nil {
		return false
	}
	if u := r.File(); u != nil {
		// No other file gets this number: the socket holds on to its inode (net/unix/af_unix.c: unix_bind_bsd).
		return u.Dev == st.Dev && u.Ino == st.Ino
	}
	return st.Mode&unix.S_IFMT == unix.S_IFSOCK // an incumbent in another language need not say which file it is
}

// bindAgain is for who holds the lock. Like bindLocked it removes a socket only if nobody listens on it. Who has connected to
// the old one and was not accepted yet calls again.
func (g *Generation) bindAgain() (bool, error) {
	g.mu.Lock()
	old := g.rendezvous
	g.mu.Unlock()
	bound, err := g.bindLocked()
	if err == nil && !bound {
		err = errElsewhere
	}
	if err != nil {
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
