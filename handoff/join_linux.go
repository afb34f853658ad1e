package handoff

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/rendezvous"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

func (g *Generation) path() rendezvous.Path { return rendezvous.Path(g.cfg.Path) }

// withLock calls f while it holds the lock of the rendezvous, if there is one.
func (g *Generation) withLock(ctx context.Context, f func() error) error {
	return g.path().WithLock(ctx, f)
}

// search finds the incumbent and succeeds it, or makes this generation the first.
func (g *Generation) search(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, g.cfg.ReadyTimeout+g.cfg.StepTimeout,
		fmt.Errorf("no incumbent took this process for its successor, and none was absent: %w", os.ErrDeadlineExceeded))
	defer cancel()
	s := rendezvous.Search{Path: g.path(), Step: g.cfg.StepTimeout, Log: g.log, Succeed: g.succeed, Bind: g.bindRendezvous}
	r := rendezvous.Rescue{Path: g.path(), Step: g.cfg.StepTimeout, Log: g.log, Rule: g.rule(), Take: g.takeFrom, Bind: g.bindRendezvous}
	defer r.Close()
	if g.cfg.Rescue != nil {
		s.Replace = r.Replace
	}
	s.Ours = func(err error) bool {
		var busy *BusyError
		return errors.As(err, &busy) && (busy.PID == os.Getpid() || busy.PID == r.Killed() && busy.PID != 0)
	}
	first, err := s.Run(ctx)
	if err != nil || !first {
		return err
	}
	g.use(r.Taken())
	return g.openRendezvous()
}

// rescued is a Source with what Config.Rescue has taken.
type rescued struct{ Source }

// Drop has the Source close it.
func (r rescued) Drop() { r.Phase(PhaseStarting, PhaseStopped) }

// takeFrom calls Config.Rescue.
func (g *Generation) takeFrom(ctx context.Context, incumbent *peer.Peer) (rendezvous.Sockets, error) {
	source, err := g.cfg.Rescue(ctx, publicPeer(incumbent))
	if err != nil || source == nil {
		return nil, err
	}
	return rescued{source}, nil
}

// use makes what a rescue brought a source of this generation, which is the first of its chain. From here on it is told of
// phases, so that it closes what it has if this fails. Beside a predecessor, which has it as well, there would be two owners.
func (g *Generation) use(taken rendezvous.Sockets) {
	if r, ok := taken.(rescued); ok {
		g.cfg.Sources = append([]Source{r.Source}, g.cfg.Sources...)
	}
}

// bindRendezvous makes this generation the first on its path, of which it holds the lock.
func (g *Generation) bindRendezvous() error {
	fd, err := g.path().Bind()
	if err != nil {
		return err
	}
	return g.adoptRendezvous(fd, wire.Item{Name: g.cfg.Path, Kind: wire.KindRendezvous, UnlinkOnClose: true}, -1)
}

// adoptRendezvous takes fd.
func (g *Generation) adoptRendezvous(fd *listener.FD, item wire.Item, place int) error {
	r, err := sockets.Rendezvous(g.log, fd, item, place, rendezvous.Vouch)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.rendezvous = r
	g.mu.Unlock()
	return nil
}

// openRendezvous begins to accept successors. Those that come before Ready wait for it.
func (g *Generation) openRendezvous() error {
	g.mu.Lock()
	r := g.rendezvous
	g.mu.Unlock()
	if r == nil {
		return nil
	}
	if err := rendezvous.Vouch(r.Pausable()); err != nil {
		return err
	}
	if err := r.Pausable().Open(); err != nil {
		return err
	}
	g.fillSpares()
	a := rendezvous.Acceptor{
		Listener: r.Pausable().(*listener.Listener),
		Spares:   &g.spares, Fill: g.fillSpares, Log: g.log, Task: g.task, Receive: g.receive,
	}
	g.task(func() { a.Run(g.ctx) })
	return nil
}

func publicPeer(p *peer.Peer) Peer { return Peer{PID: p.PID, UID: p.UID, GID: p.GID} }

// rule is Config.Authorize; nil if there is none.
func (g *Generation) rule() func(*peer.Peer) error {
	if g.cfg.Authorize == nil {
		return nil
	}
	return func(p *peer.Peer) error { return g.cfg.Authorize(publicPeer(p)) }
}

// introduce makes a Peer of the sender of f, if it is authorized.
func (g *Generation) introduce(l *link.Link, f link.Frame) (*peer.Peer, error) {
	var p *peer.Peer
	err := g.spares.Do(1, 1, func() (err error) {
		p, err = peer.FromMessage(f.Raw)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := rendezvous.Authorize(g.rule(), p, l.Conn); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}
