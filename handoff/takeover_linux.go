package handoff

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

// takeOver is Ready for a successor.
func (g *Generation) takeOver(ctx context.Context) error {
	p := g.predecessor
	p.unwatch(errUnwatched)
	<-p.watched
	if p.lost != nil {
		return p.lost
	}
	if err := g.arm(); err != nil {
		_ = p.link.send(&wire.Failed{Reason: err.Error()})
		return err
	}
	if err := g.awaitCommit(ctx, p); err != nil {
		return err
	}
	// From here this generation owns, and what fails is only reported.
	phase := PhaseServing
	if g.cfg.Probation > 0 || g.cfg.Check != nil {
		phase = PhaseProbation
	}
	if err := g.openClaimed(phase); err != nil {
		// Close came meanwhile, or somebody broke a socket. The predecessor takes the token back.
		_ = p.token.put()
		_ = p.link.send(&wire.Failed{Reason: err.Error(), Returned: true})
		return err
	}
	if err := p.link.send(&wire.Owned{}); err != nil {
		g.log.Warn("the predecessor was not told that this generation owns", "error", err)
	}
	g.dropClosed(p)
	g.started.happen()
	g.log.Info("serving", "phase", phase)
	if err := g.replaceOutput(); err != nil {
		g.log.Warn("standard output still goes through the predecessor", "error", err)
	}
	g.closeUnclaimed()
	if err := g.openRendezvous(); err != nil {
		g.log.Error("the rendezvous is out of order; only Upgrade starts a successor", "path", g.cfg.Path, "error", err)
	}
	if phase == PhaseServing {
		g.confirm(p)
		g.task(func() { g.attend(p) })
		return nil
	}
	g.task(func() { g.attend(p) })
	g.task(func() { g.prove(p) })
	return nil
}

// arm makes every claimed socket ready to be opened, because after the commit nothing may fail.
func (g *Generation) arm() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing {
		return net.ErrClosed
	}
	for _, r := range g.claimed {
		if r.sock == nil {
			continue
		}
		if err := r.sock.Arm(); err != nil {
			return fmt.Errorf("inherited %s: %w", r.item.Name, err)
		}
	}
	return nil
}

// awaitCommit proves what this generation holds, waits for COMMIT and takes the token. If the predecessor is no more and
// this generation its heir, it takes the token without.
func (g *Generation) awaitCommit(ctx context.Context, p *predecessor) error {
	if !p.left {
		err := g.sendReceipts(p)
		r := g.newRestorer(ctx, p)
		defer r.end()
		if err == nil || over(err) { // what it had said before it ended counts
			err = r.awaitCommit()
		}
		if err != nil && p.heir && over(err) && p.died(g.cfg.StepTimeout) {
			g.log.Warn("the incumbent died before the commit; this process takes the sockets", "incumbent", p.link.peer.PID)
			err = nil
		}
		if err == nil {
			err = r.finish()
		}
		if err != nil {
			if !over(err) {
				_ = p.link.send(&wire.Failed{Reason: err.Error()})
			}
			return fmt.Errorf("before the commit: %w", p.link.explain(err))
		}
	}
	switch owned, err := p.token.take(); {
	case err != nil:
		return err
	case !owned:
		return fmt.Errorf("%w: the incumbent took them back, this process was too late", ErrNotOwner)
	}
	// At once, before code of the program, such as its Logger, can hang: from here on it is this process that somebody who
	// comes to the rescue must find. An error comes up again in openRendezvous.
	if r := g.rendezvous; r != nil {
		_ = relisten(r.sock)
	}
	return nil
}

// sendReceipts sends what each offered thing was when it arrived, and whether the program asked for it.
func (g *Generation) sendReceipts(p *predecessor) error {
	claimed := make([]bool, len(p.offered))
	g.mu.Lock()
	g.sealed = true
	for _, r := range g.claimed {
		if r.inherited() {
			claimed[r.offer] = true
		}
	}
	g.mu.Unlock()
	p.claimed = slices.Clone(claimed)
	receipts := make([]wire.Receipt, len(p.offered))
	for i, o := range p.offered {
		switch o.item.Kind {
		case wire.KindRendezvous, wire.KindStdout, wire.KindStderr:
			claimed[i] = true
		}
		receipts[i] = receipt(o.info)
		receipts[i].Item, receipts[i].Claimed = i, claimed[i]
	}
	frames, err := wire.Receipts(receipts, g.confirmWithin().Milliseconds())
	if err == nil {
		frames, err = wire.AddSections(frames, g.restorable(p))
	}
	if err != nil {
		return err
	}
	for _, m := range frames {
		if err := p.link.send(m); err != nil {
			return err
		}
	}
	return nil
}

// receipt says what identifies an open file: status flags other than the access mode may change at any time.
func receipt(i listener.Info) wire.Receipt {
	return wire.Receipt{Cookie: i.Cookie, Dev: i.Dev, Ino: i.Ino, Flags: i.Flags & unix.O_ACCMODE}
}

// dropClosed tells the predecessor of the sockets that the program closed between their receipts and the commit.
func (g *Generation) dropClosed(p *predecessor) {
	closed := slices.Clone(p.claimed)
	g.mu.Lock()
	for _, r := range g.claimed {
		if r.inherited() && r.offer < len(closed) {
			closed[r.offer] = false
		}
	}
	g.mu.Unlock()
	for i, dropped := range closed { // none if the predecessor left before the receipts
		if dropped {
			g.dropped(i)
		}
	}
}

// confirmWithin is how long after OWNED the predecessor may have to wait for CONFIRM.
func (g *Generation) confirmWithin() time.Duration {
	d := max(g.cfg.Probation, 0)
	if g.cfg.Check != nil {
		d += g.cfg.ReadyTimeout
	}
	return d
}

func (g *Generation) closeUnclaimed() {
	g.mu.Lock()
	unclaimed := g.unclaimed
	g.unclaimed = nil
	g.mu.Unlock()
	for _, r := range unclaimed {
		g.log.Info("not asked for; the predecessor closes it", "name", r.item.Name)
		r.giveUp(false)
	}
}
