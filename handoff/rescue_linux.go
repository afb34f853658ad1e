package handoff

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/peer"
)

// errNoSource: whoever took nothing must say that it failed.
var errNoSource = errors.New("Config.Rescue returned neither a Source nor an error; return a Source, be it one that has nothing, if the incumbent is to be killed")

// rescue takes the sockets of an incumbent that does not answer, ends it, since it would be a second owner if it went on one
// day, and takes its place. It reports whether to try again with whoever is at the rendezvous then, if anybody.
func (g *Generation) rescue(ctx context.Context, incumbent *peer.Peer, past *calls) (again bool, err error) {
	who := Peer{PID: incumbent.PID, UID: incumbent.UID, GID: incumbent.GID}
	if f := g.cfg.Authorize; f != nil {
		if err := f(who); err != nil {
			return false, fmt.Errorf("rescue: %w: %v: %w", ErrUnauthorized, incumbent, err)
		}
	} else if !peer.SameUser(who.UID) {
		return false, fmt.Errorf("rescue: %w: %v; %s", ErrUnauthorized, incumbent, peer.Remedy(who.UID))
	}
	if again, err = g.identify(ctx, incumbent); again || err != nil {
		return again, err
	}
	// Of several who rescue, the one that takes the sockets takes the place: the others find it taken, or the incumbent dead.
	first := false
	err = g.withLock(ctx, func() error {
		var err error
		if again, err = g.moved(ctx, incumbent); again || err != nil {
			return err
		}
		if again, err = g.replace(ctx, incumbent, who, past); err != nil {
			return err
		}
		first, err = g.bindLocked()
		return err
	})
	if err != nil || !first {
		return again, err
	}
	g.useTaken(past)
	return false, g.openRendezvous()
}

// replace takes the sockets of an incumbent, and kills it. Nil means that this is done: what it brought is in past.
func (g *Generation) replace(ctx context.Context, incumbent *peer.Peer, who Peer, past *calls) (again bool, err error) {
	g.log.Error("RESCUE: the incumbent does not answer; trying to take its sockets", "incumbent", who.PID)
	source, err := g.cfg.Rescue(ctx, who)
	switch {
	case err != nil:
		incumbent.Await(ctx, link.ExitGrace) // that may be why
		if again = incumbent.Dead(); again {
			g.log.Warn("RESCUE: the incumbent ended meanwhile; trying again without", "incumbent", who.PID, "error", err)
		}
		return again, fmt.Errorf("rescue of pid %d: %w", who.PID, err)
	case source == nil:
		return false, fmt.Errorf("rescue of pid %d: %w", who.PID, errNoSource)
	case incumbent.Dead(): // as long as it lived nobody else had its number, but this may be another's sockets
		g.log.Warn("RESCUE: the incumbent ended meanwhile; what was taken is dropped, trying again without", "incumbent", who.PID)
		drop(source)
		return true, fmt.Errorf("rescue of pid %d: %w", who.PID, ErrPeerDied)
	}
	g.log.Error("RESCUE: the incumbent's sockets are taken; it is killed", "incumbent", who.PID)
	if err := g.putDown(ctx, incumbent); err != nil {
		drop(source)
		return false, fmt.Errorf("rescue: %w", err)
	}
	g.log.Error("RESCUE: the incumbent is dead; this process takes its place, unless an heir or a predecessor does", "incumbent", who.PID)
	drop(past.taken) // what an earlier rescue brought, the one just killed may have had too
	past.taken, past.killed = source, who.PID
	return true, nil
}

// putDown kills an incumbent and sees it dead.
func (g *Generation) putDown(ctx context.Context, incumbent *peer.Peer) error {
	if err := incumbent.Kill(); err != nil {
		return err
	}
	switch {
	case incumbent.Await(ctx, g.cfg.StepTimeout):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return fmt.Errorf("pid %d was killed but does not die; it ends once what it does in the kernel ends (see /proc/%d/stack), then start again: %w",
			incumbent.PID, incumbent.PID, os.ErrDeadlineExceeded)
	}
}

// useTaken makes what a rescue brought a source of this generation, which is the first of its chain. From here on it is told
// of phases, so that it closes what it has if this fails. Beside a predecessor, which has it as well, there would be two owners.
func (g *Generation) useTaken(past *calls) {
	if past.taken != nil {
		g.cfg.Sources = append([]Source{past.taken}, g.cfg.Sources...)
		past.taken = nil
	}
}

// drop has a Source close what it has, of which nothing was asked.
func drop(s Source) {
	if s != nil {
		s.Phase(PhaseStarting, PhaseStopped)
	}
}
