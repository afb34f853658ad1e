package driver

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/segue-go/segue/handoff/internal/state"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// prove serves for the probation, calls Check, and confirms or hands back.
func (d *Driver) prove(p *predecessor) {
	t := time.NewTimer(max(d.cfg.Probation, 0))
	defer t.Stop()
	select {
	case <-t.C:
	case <-d.ctx.Done():
		return
	}
	if d.cfg.Check != nil {
		ctx, cancel := context.WithTimeout(d.ctx, d.cfg.ReadyTimeout)
		err := d.cfg.Check(ctx)
		cancel()
		if d.ctx.Err() != nil {
			return
		}
		if err != nil {
			d.log.Error("the check failed", "error", err)
			d.mu.Lock()
			d.lastError = err
			d.mu.Unlock()
			if d.HandBack(err) {
				return
			}
		}
	}
	d.hearIf(p, cue{event: succession.Proved}, func() bool { return d.phase == succession.PhaseProbation && !d.closing })
}

// HandBack gives the sockets back, if there is somebody to give them to.
//
// What only one process may have is let go of first, while this generation serves on. The predecessor waits for an answer to
// PING meanwhile, so that takes less than StepTimeout, or it ends this process.
func (d *Driver) HandBack(cause error) bool {
	d.yieldings.Lock() // a second call finds what the first one has done
	defer d.yieldings.Unlock()
	d.mu.Lock()
	p := d.predecessor
	may := succession.MayHandBack(d.toPredecessor, d.toSuccessor)
	if may {
		d.yielding = make(chan struct{})
	}
	d.mu.Unlock()
	if !may {
		return d.cannotHandBack(cause)
	}
	defer func() {
		d.mu.Lock()
		close(d.yielding)
		d.yielding = nil
		d.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(d.ctx, d.cfg.StepTimeout*3/4)
	defer cancel()
	var kept state.Held
	err := d.Sections.HoldExclusive(ctx, kept.Add)
	_, may = d.hearIf(p, cue{event: succession.Unfit, cause: cause, held: err}, func() bool {
		may := succession.MayHandBack(d.toPredecessor, d.toSuccessor) && !p.link.Peer.Dead()
		if may {
			// It calls its sections before it serves again.
			d.Conns.HandsBack(d.cfg.StepTimeout + p.stateWithin)
		}
		return may
	})
	if may {
		return true
	}
	kept.Release()
	return d.cannotHandBack(cause)
}

// cannotHandBack reports whether the sockets have gone back already.
func (d *Driver) cannotHandBack(cause error) bool {
	if d.handingBack() {
		return true
	}
	if d.Phase() != succession.PhaseStopped { // otherwise it was said when it ended
		d.log.Warn("there is no predecessor that the sockets could go back to", "error", cause)
	}
	return false
}

// putBack stops accepting, and then puts the token back. It reports whether the predecessor may say which connections return.
func (d *Driver) putBack(p *predecessor, c cue) bool {
	cause, held := c.cause, c.held
	d.log.Error("this generation fails; the sockets go back", "error", cause)
	own := d.Sockets.Own()
	if err := d.park(); err != nil {
		d.log.Error("a socket does not pause", "error", err)
	}
	if p.in != nil {
		p.in.Close() // what is not answered when the predecessor hears of this stays with it
	}
	if held != nil {
		d.log.Error("something that only one process may have is not let go of; the predecessor ends this process to have the sockets",
			"error", held)
	}
	var err error
	if held == nil {
		err = p.token.Put()
	}
	if err == nil {
		err = p.link.Send(&wire.Failed{Reason: cause.Error(), Returned: held == nil})
	}
	if err != nil {
		d.log.Error("nobody is left to serve", "error", err)
	}
	d.giveBack(own, cause)
	return p.returns && held == nil && err == nil
}

// releaseAncestor makes the predecessor give up revival, before this generation commits to a successor: two who could
// revive would be two owners.
func (d *Driver) releaseAncestor(ctx context.Context) error {
	d.mu.Lock()
	p := d.predecessor
	d.mu.Unlock()
	if p == nil || p.released.happened() {
		return nil
	}
	d.hearIf(p, cue{event: succession.AskRelease}, func() bool {
		return !succession.MayCommit(d.toPredecessor) && d.phase.Owns() && !d.closing
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
