package driver

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

func (d *Driver) path() rendezvous.Path { return rendezvous.Path(d.cfg.Path) }

// withLock calls f while it holds the lock of the rendezvous, if there is one.
func (d *Driver) withLock(ctx context.Context, f func() error) error {
	return d.path().WithLock(ctx, f)
}

// search finds the incumbent and succeeds it, or makes this generation the first.
func (d *Driver) search(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d.cfg.ReadyTimeout+d.cfg.StepTimeout,
		fmt.Errorf("no incumbent took this process for its successor, and none was absent: %w", os.ErrDeadlineExceeded))
	defer cancel()
	s := rendezvous.Search{Path: d.path(), Step: d.cfg.StepTimeout, Log: d.log, Succeed: d.succeed, Bind: d.bindRendezvous}
	r := rendezvous.Rescue{Path: d.path(), Step: d.cfg.StepTimeout, Log: d.log, Rule: d.rule(), Take: d.takeFrom, Bind: d.bindRendezvous}
	defer r.Close()
	if d.cfg.Rescue != nil {
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
	if taken := r.Taken(); taken != nil && d.cfg.Rescued != nil {
		d.cfg.Rescued(taken)
	}
	return d.openRendezvous()
}

// takeFrom calls Config.Rescue.
func (d *Driver) takeFrom(ctx context.Context, incumbent *peer.Peer) (rendezvous.Sockets, error) {
	return d.cfg.Rescue(ctx, peerOf(incumbent))
}

// bindRendezvous makes this generation the first on its path, of which it holds the lock.
func (d *Driver) bindRendezvous() error {
	fd, err := d.path().Bind()
	if err != nil {
		return err
	}
	return d.adoptRendezvous(fd, wire.Item{Name: d.cfg.Path, Kind: wire.KindRendezvous, UnlinkOnClose: true}, -1)
}

// adoptRendezvous takes fd.
func (d *Driver) adoptRendezvous(fd *listener.FD, item wire.Item, place int) error {
	r, err := sockets.Rendezvous(d.log, fd, item, place, rendezvous.Vouch)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.rendezvous = r
	d.mu.Unlock()
	return nil
}

// openRendezvous begins to accept successors. Those that come before Ready wait for it.
func (d *Driver) openRendezvous() error {
	d.mu.Lock()
	r := d.rendezvous
	d.mu.Unlock()
	if r == nil {
		return nil
	}
	if err := rendezvous.Vouch(r.Pausable()); err != nil {
		return err
	}
	if err := r.Pausable().Open(); err != nil {
		return err
	}
	d.fillSpares()
	a := rendezvous.Acceptor{
		Listener: r.Pausable().(*listener.Listener),
		Spares:   &d.spares, Fill: d.fillSpares, Log: d.log, Task: d.task, Receive: d.serveCaller,
	}
	d.task(func() { a.Run(d.ctx) })
	return nil
}

// peerOf is p as the program sees it.
func peerOf(p *peer.Peer) Peer { return Peer{PID: p.PID, UID: p.UID, GID: p.GID} }

// rule is Config.Authorize; nil if there is none.
func (d *Driver) rule() func(*peer.Peer) error {
	if d.cfg.Authorize == nil {
		return nil
	}
	return func(p *peer.Peer) error { return d.cfg.Authorize(peerOf(p)) }
}

// introduce makes a Peer of the sender of f, if it is authorized.
func (d *Driver) introduce(l *link.Link, f link.Frame) (*peer.Peer, error) {
	var p *peer.Peer
	err := d.spares.Do(1, 1, func() (err error) {
		p, err = peer.FromMessage(f.Raw)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := rendezvous.Authorize(d.rule(), p, l.Conn); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}
