package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

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
	if g.setPhaseIf(PhaseProbation, PhaseServing) {
		g.confirm(p)
	}
}

func (g *Generation) confirm(p *predecessor) {
	if err := p.link.send(g.confirmation(p)); err != nil && !over(err) && !errors.Is(err, net.ErrClosed) {
		g.log.Warn("the predecessor was not told that this generation is well", "error", err)
	}
	g.writePIDFile()
}

// handBack gives the sockets back, if there is somebody to give them to.
func (g *Generation) handBack(cause error) bool {
	g.mu.Lock()
	p := g.predecessor
	if p == nil || p.released.happened() || p.ponged.happened() || g.settled || !g.phase.owner() {
		g.mu.Unlock()
		g.log.Warn("there is no predecessor that the sockets could go back to", "error", cause)
		return false
	}
	g.returning = true
	tell := g.setPhaseLocked(PhaseGuarding)
	g.mu.Unlock()
	tell()
	g.log.Error("this generation fails; the sockets go back", "error", cause)
	if err := g.parkClaimed(nil); err != nil {
		g.log.Error("a socket does not pause", "error", err)
	}
	err := p.token.put()
	if err == nil {
		err = p.link.send(&wire.Failed{Reason: cause.Error(), Returned: true})
	}
	if err != nil {
		g.log.Error("nobody is left to serve", "error", err)
	}
	g.mu.Lock()
	g.handedBack = fmt.Errorf("%w: %w", ErrHandedBack, cause)
	g.mu.Unlock()
	g.stop()
	return true
}

// attend answers the predecessor until it ends.
func (g *Generation) attend(p *predecessor) {
	defer func() {
		if g.ctx.Err() == nil { // else nothing is settled but that this generation ends
			g.settleSources()
		}
		p.close()
	}()
	for {
		f, err := p.link.recv(g.ctx, 0)
		if err != nil {
			if g.ctx.Err() == nil {
				g.log.Debug("the predecessor is gone", "predecessor", p.link.peer.PID, "error", err)
			}
			return
		}
		if m, ok := f.msg.(*wire.Conns); ok && p.moves {
			err := g.receiveConns(p, m, f)
			f.raw.Close()
			if err != nil {
				g.log.Debug("the predecessor got no answer", "error", err)
				return
			}
			continue
		}
		f.raw.Close()
		switch f.msg.(type) {
		case *wire.Ping: // the end of the guard: it lets go once it has the answer
			p.ponged.happen()
			if !g.currentPhase().owner() {
				continue // handing back
			}
			if err := p.link.send(&wire.Pong{}); err != nil {
				return
			}
		case *wire.Released:
			g.settleSources() // first: from then on there may be a successor
			p.released.happen()
		case *wire.Bye, *wire.Goodbye:
			return
		}
	}
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
	if err := p.link.send(&wire.Release{}); err != nil && !over(err) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("release pid %d: %w", p.link.peer.PID, err)
	}
	t := time.NewTimer(g.cfg.StepTimeout)
	defer t.Stop()
	select {
	case <-p.released.c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return fmt.Errorf("generation before this one, pid %d, does not give up its guard; is it stopped? %w",
			p.link.peer.PID, os.ErrDeadlineExceeded)
	}
}
