package handoff

import (
	"context"
	"errors"
	"time"

	"github.com/segue-go/segue/handoff/internal/wire"
)

var errUnwatched = errors.New("Ready was called")

// watch waits for an end of the predecessor, or of its patience, while the program prepares itself. If there is nothing
// to wait for any more it gives up all copies at once: they would keep ports open with nobody behind.
func (g *Generation) watch(ctx context.Context, p *predecessor) {
	defer close(p.watched)
	f, err := p.link.recv(ctx, 0)
	if err == nil {
		f.raw.Close()
		if _, ok := f.msg.(*wire.Goodbye); ok && p.heir {
			p.left = true
			g.log.Info("the incumbent stops and leaves the sockets to this process", "incumbent", p.link.peer.PID)
			return
		}
		err = p.link.unexpected(f.msg)
	}
	switch {
	case errors.Is(err, errUnwatched):
		return
	case g.ctx.Err() != nil:
	case over(err) && p.heir && p.died(g.cfg.StepTimeout):
		_ = g.replaceOutput() // nobody reads the pipe any more; takeOver has no more to replace
		g.log.Warn("the incumbent died; this process takes the sockets when it is ready", "incumbent", p.link.peer.PID)
		return
	default:
		g.log.Error("this generation cannot take over any more", "error", err)
	}
	p.lost = p.link.explain(err)
	g.mu.Lock()
	g.lost = p.lost
	g.mu.Unlock()
	g.stop()
}

// died reports whether the process at the other end is dead, or is within d.
func (p *predecessor) died(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.link.peer.Done():
		return true
	case <-t.C:
		return p.link.peer.Dead()
	}
}
