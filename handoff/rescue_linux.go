package handoff

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/segue-go/segue/handoff/internal/peer"
)

// rescue takes the sockets of an incumbent that does not answer, and ends it: if it went on one day, it would be a second
// owner. Nil means that the rendezvous is free.
func (g *Generation) rescue(ctx context.Context, incumbent *peer.Peer) error {
	who := Peer{PID: incumbent.PID, UID: incumbent.UID, GID: incumbent.GID}
	if f := g.cfg.Authorize; f != nil {
		if err := f(who); err != nil {
			return fmt.Errorf("rescue: %w: %v: %w", ErrUnauthorized, incumbent, err)
		}
	} else if !peer.SameUser(who.UID) {
		return fmt.Errorf("rescue: %w: %v", ErrUnauthorized, incumbent)
	}
	g.log.Error("RESCUE: the incumbent does not answer; its sockets are taken and it is killed", "incumbent", who.PID)
	source, err := g.cfg.Rescue(ctx, who)
	if err != nil {
		return fmt.Errorf("rescue of pid %d: %w", who.PID, err)
	}
	if source != nil { // from here on it is told of phases, so that it closes what it has if this fails
		g.cfg.Sources = append([]Source{source}, g.cfg.Sources...)
	}
	if err := incumbent.Kill(); err != nil {
		return fmt.Errorf("rescue: %w", err)
	}
	t := time.NewTimer(g.cfg.StepTimeout)
	defer t.Stop()
	select {
	case <-incumbent.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return fmt.Errorf("rescue: pid %d was killed but does not die: %w", who.PID, os.ErrDeadlineExceeded)
	}
	g.log.Error("RESCUE: the incumbent is dead; this process takes its place", "incumbent", who.PID)
	return nil
}
