package handoff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/peer"
)

// rescue takes the sockets of an incumbent that does not answer, and ends it: if it went on one day, it would be a second
// owner. A nil error means that somebody else may be found at the rendezvous now, or nobody. The Source, if there is one,
// is what the sockets are in then, should nobody have gone on with them; the caller tells it of phases.
func (g *Generation) rescue(ctx context.Context, incumbent *peer.Peer) (Source, error) {
	who := Peer{PID: incumbent.PID, UID: incumbent.UID, GID: incumbent.GID}
	if f := g.cfg.Authorize; f != nil {
		if err := f(who); err != nil {
			return nil, fmt.Errorf("rescue: %w: %v: %w", ErrUnauthorized, incumbent, err)
		}
	} else if !peer.SameUser(who.UID) {
		return nil, fmt.Errorf("rescue: %w: %v; start this process as that user, set Config.Authorize, or end that process by hand", ErrUnauthorized, incumbent)
	}
	g.log.Error("RESCUE: the incumbent does not answer; its sockets are to be taken, and then it is killed", "incumbent", who.PID)
	source, err := g.cfg.Rescue(ctx, who)
	if err == nil && source == nil {
		err = errors.New("Config.Rescue returned no Source, so it is left alive")
	}
	if errors.Is(err, fdpass.ErrGone) {
		awaitEnd(ctx, incumbent)
	}
	if incumbent.Dead() {
		// Somebody else killed it, perhaps another that rescues. What was taken may be another process's, which has its
		// number now.
		drop(source)
		g.log.Info("the incumbent has died by itself; trying again", "incumbent", who.PID)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("rescue of pid %d: %w", who.PID, err)
	}
	if err := g.kill(ctx, incumbent); err != nil {
		drop(source)
		return nil, fmt.Errorf("rescue: %w", err)
	}
	g.log.Error("RESCUE: the incumbent is dead; this process takes its place", "incumbent", who.PID)
	return source, nil
}

// drop has a Source close what it has, of which nothing was asked.
func drop(s Source) {
	if s != nil {
		s.Phase(PhaseStarting, PhaseStopped)
	}
}

// kill kills the incumbent, and waits until it is dead.
func (g *Generation) kill(ctx context.Context, incumbent *peer.Peer) error {
	if err := incumbent.Kill(); err != nil && !incumbent.Dead() {
		return err
	}
	t := time.NewTimer(g.cfg.StepTimeout)
	defer t.Stop()
	select {
	case <-incumbent.Done():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return fmt.Errorf("pid %d was killed but does not die; look at its state (ps), it may hang in the kernel: %w", incumbent.PID, os.ErrDeadlineExceeded)
	}
}
