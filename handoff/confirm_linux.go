package handoff

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
func (g *Generation) prove(p *predecessor) {
	t := time.NewTimer(max(g.cfg.Probation, 0))
	defer t.Stop()
	select {
	case <-t.C:
	case <-g.ctx.Done():
		return
	}
	if g.cfg.Check != nil {
		ctx, cancel := context.WithTimeout(g.ctx, g.cfg.ReadyTimeout)
		err := g.cfg.Check(ctx)
		cancel()
		if g.ctx.Err() != nil {
			return
		}
		if err != nil {
			g.log.Error("the check failed", "error", err)
			g.mu.Lock()
			g.lastError = err
			g.mu.Unlock()
			if g.handBack(err) {
				return
			}
		}
	}
	g.hearIf(p, cue{event: succession.Proved}, func() bool { return g.phase == PhaseProbation && !g.closing })
}

// handBack gives the sockets back, if there is somebody to give them to.
//
// What only one process may have is let go of first, while this generation serves on. The predecessor waits for an answer to
// PING meanwhile, so that takes less than StepTimeout, or it ends this process.
func (g *Generation) handBack(cause error) bool {
	g.yieldings.Lock() // a second call finds what the first one has done
	defer g.yieldings.Unlock()
	g.mu.Lock()
	p := g.predecessor
	may := succession.MayHandBack(g.toPredecessor, g.toSuccessor)
	if may {
		g.yielding = make(chan struct{})
	}
	g.mu.Unlock()
	if !may {
		return g.cannotHandBack(cause)
	}
	defer func() {
		g.mu.Lock()
		close(g.yielding)
		g.yielding = nil
		g.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(g.ctx, g.cfg.StepTimeout*3/4)
	defer cancel()
	var kept state.Held
	err := g.sections.HoldExclusive(ctx, kept.Add)
	_, may = g.hearIf(p, cue{event: succession.Unfit, cause: cause, held: err}, func() bool {
		may := succession.MayHandBack(g.toPredecessor, g.toSuccessor) && !p.link.Peer.Dead()
		if may {
			// It calls its sections before it serves again.
			g.conns.HandsBack(g.cfg.StepTimeout + p.stateWithin)
		}
		return may
	})
	if may {
		return true
	}
	kept.Release()
	return g.cannotHandBack(cause)
}

// cannotHandBack reports whether the sockets have gone back already.
func (g *Generation) cannotHandBack(cause error) bool {
	if g.handingBack() {
		return true
	}
	if g.currentPhase() != PhaseStopped { // otherwise it was said when it ended
		g.log.Warn("there is no predecessor that the sockets could go back to", "error", cause)
	}
	return false
}

// putBack stops accepting, and then puts the token back. It reports whether the predecessor may say which connections return.
func (g *Generation) putBack(p *predecessor, c cue) bool {
	cause, held := c.cause, c.held
	g.log.Error("this generation fails; the sockets go back", "error", cause)
	own := g.sockets.Own()
	if err := g.park(); err != nil {
		g.log.Error("a socket does not pause", "error", err)
	}
	if p.in != nil {
		p.in.Close() // what is not answered when the predecessor hears of this stays with it
	}
	if held != nil {
		g.log.Error("something that only one process may have is not let go of; the predecessor ends this process to have the sockets",
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
		g.log.Error("nobody is left to serve", "error", err)
	}
	g.giveBack(own, cause)
	return p.returns && held == nil && err == nil
}

// releaseAncestor makes the predecessor give up revival, before this generation commits to a successor: two who could
// revive would be two owners.
func (g *Generation) releaseAncestor(ctx context.Context) error {
	g.mu.Lock()
	p := g.predecessor
	g.mu.Unlock()
	if p == nil || p.released.happened() {
		return nil
	}
	g.hearIf(p, cue{event: succession.AskRelease}, func() bool {
		return !succession.MayCommit(g.toPredecessor) && g.phase.owner() && !g.closing
	})
	t := time.NewTimer(g.cfg.StepTimeout)
	defer t.Stop()
	select {
	case <-p.released.c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		g.mu.Lock()
		severed := g.toPredecessor == succession.Severed
		g.mu.Unlock()
		if severed {
			return fmt.Errorf("the link to the generation before this one, pid %d, has ended, and that process lives: "+
				"it may yet take the sockets back; end it, and try again: %w", p.link.Peer.PID, os.ErrDeadlineExceeded)
		}
		return fmt.Errorf("generation before this one, pid %d, does not give up its guard; is it stopped? %w",
			p.link.Peer.PID, os.ErrDeadlineExceeded)
	}
}
