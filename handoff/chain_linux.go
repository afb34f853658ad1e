package handoff

import (
	"context"
	"errors"
	"fmt"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/spawn"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// chain is what a generation has to do with the ones before and after it.
type chain struct {
	rendezvous  *sockets.Socket // nil without a Path
	waiting     int             // upgrades that this process wants and that wait for a silent successor; guarded by Generation.mu
	attempt     *attempt        // the handover under way, one at a time; guarded by Generation.mu
	predecessor *predecessor    // nil for the first generation; guarded by Generation.mu once this generation owns

	spares spares.Pool // descriptors for a handover

	origin spawn.Origin // what successors are started with
	stdio  spawn.Stdio  // standard output and error
}

func (g *Generation) join(ctx context.Context) error {
	g.spares.Alone = g.withoutAccepting
	g.origin = spawn.NewOrigin()
	if err := g.supervised.take(); err != nil {
		return err
	}
	err := g.meet(ctx)
	if err == nil && g.cfg.Command == nil {
		g.origin.Report(g.log)
	}
	return err
}

// meet finds the incumbent and succeeds it, or makes this generation the first.
func (g *Generation) meet(ctx context.Context) error {
	conn, err := spawn.Inherited(g.cfg.Path, g.log)
	if err != nil {
		return err
	}
	if conn != nil {
		g.stdio.SurviveSIGPIPE()
		return g.succeed(ctx, conn)
	}
	if g.cfg.Path == "" {
		return nil
	}
	return g.search(ctx)
}

// fillSpares keeps descriptors for a handover of what this generation has now.
func (g *Generation) fillSpares() {
	g.mu.Lock()
	n := g.sections.Len()
	if g.cfg.Transport == TransportPidfd {
		n += g.sockets.Len() // copies that the successor takes; otherwise they are sent if there is no room
	}
	g.mu.Unlock()
	g.spares.Fill(n)
}

// withoutAccepting calls f while the sockets of a generation that owns are paused, so that they do not take the descriptors
// that are set free for f. No switch begins meanwhile. f must not lock mu.
func (g *Generation) withoutAccepting(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.phase.owner() {
		f()
		return
	}
	g.sockets.WithoutAccepting(f)
}

// linkOptions are those of a link to other, which introduces itself there, by a message with its pidfd, if it is to.
func (g *Generation) linkOptions(other string, introduces bool) link.Options {
	o := link.Options{Other: other, Step: g.cfg.StepTimeout, Sent: g.cfg.Trace.Sent, Received: g.cfg.Trace.Received}
	if introduces {
		o.Spares = &g.spares
	}
	return o
}

// peersLocked returns the process ids of the generations before and after.
func (g *Generation) peersLocked() (predecessor, successor int) {
	if p := g.predecessor; p != nil && p.link.Peer != nil && !p.gone.happened() {
		predecessor = p.link.Peer.PID
	}
	if a := g.attempt; a != nil {
		successor = a.pid()
	}
	return predecessor, successor
}

// sendDrop tells a predecessor in its guard that this generation has closed a socket, so that its copy does not keep the
// port open with nobody behind.
func (g *Generation) sendDrop(item int) {
	g.mu.Lock()
	p := g.predecessor
	g.mu.Unlock()
	if p == nil || p.released.happened() {
		return
	}
	if err := p.link.Tell(&wire.Drop{Item: item}); err != nil {
		g.log.Warn("the predecessor was not told of a closed socket", "error", err)
	}
}

// leave says goodbye. The caller has set closing.
func (g *Generation) leave() {
	g.mu.Lock()
	p, phase, refused := g.predecessor, g.phase, g.refused
	g.mu.Unlock()
	e, reason := succession.Stop, errors.New("closed")
	switch phase {
	case PhaseStopped:
		return
	case PhaseStarting:
		e, reason = succession.GiveUp, errors.New("closed before it was ready")
		if refused != nil {
			reason = fmt.Errorf("%w, after: %w", reason, refused)
		}
	}
	g.hear(p, cue{event: e, cause: reason})
}

// letGo closes what the chain holds.
func (g *Generation) letGo(owner bool) {
	g.mu.Lock()
	r := g.rendezvous
	g.rendezvous = nil
	p := g.predecessor
	g.mu.Unlock()
	g.spares.Close()
	if p != nil {
		p.close()
	}
	g.conns.Close()
	g.stdio.Close()
	if r == nil {
		return
	}
	if !owner && !r.Sole() {
		_ = r.CloseAs(false)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.cfg.StepTimeout)
	defer cancel()
	err := g.withLock(ctx, func() error {
		_ = r.CloseAs(true)
		g.path().Leave()
		return nil
	})
	if err != nil {
		_ = r.CloseAs(false)
		g.log.Warn("the rendezvous was left behind; the next start replaces it", "path", g.cfg.Path, "error", err)
	}
}
