package driver

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// releaseAncestor makes the predecessor give up revival, before this generation commits to a successor. Two generations
// that could be revived could become two owners.
func (d *Driver) releaseAncestor(ctx context.Context) error {
	d.mu.Lock()
	p := d.predecessor
	d.mu.Unlock()
	if p == nil || p.released.happened() {
		return nil
	}
	d.decideIf(p, input{event: succession.AskRelease}, func() bool {
		return !succession.MayCommit(d.toPredecessor) && d.phase.Owns() && !d.endsLocked()
	})
	t := time.NewTimer(d.cfg.StepTimeout)
	defer t.Stop()
	select {
	case <-p.released.c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		d.mu.Lock()
		severed := d.toPredecessor == succession.Severed
		d.mu.Unlock()
		if severed {
			return fmt.Errorf("the link to the generation before this one, pid %d, has ended, and that process lives: "+
				"it may yet take the sockets back; end it, and try again: %w", p.link.Peer.PID, os.ErrDeadlineExceeded)
		}
		return fmt.Errorf("generation before this one, pid %d, does not give up its guard; is it stopped? %w",
			p.link.Peer.PID, os.ErrDeadlineExceeded)
	}
}

// tellAncestor tells a predecessor that was released what the death of this generation would mean. GOODBYE: a successor serves on.
// OWNED: nobody serves.
func (d *Driver) tellAncestor(m wire.Message) {
	d.mu.Lock()
	p := d.predecessor
	d.mu.Unlock()
	if p == nil || p.gone.happened() {
		return
	}
	p.say(m)
}

// isFirstOrReleased reports whether nobody before this generation can be revived any more.
func (d *Driver) isFirstOrReleased() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return succession.MayCommit(d.toPredecessor)
}
