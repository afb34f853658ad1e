package driver

import (
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// arm makes every claimed socket ready to be opened, because after the commit nothing may fail.
func (d *Driver) arm() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.endsLocked() {
		return net.ErrClosed
	}
	if err := d.held.Arm(); err != nil {
		return err
	}
	d.keeper.Arm() // before clients can take all descriptors. An error comes up again when the rendezvous is opened
	return nil
}

// awaitCommit proves what this generation holds, and waits for COMMIT, or for the end of the predecessor. It reports which, once
// all sections that came are restored.
func (p *predecessor) awaitCommit() input {
	err := p.sendReceipts()
	r := p.receiveSections()
	defer r.Close()
	in := input{event: succession.GiveUp, cause: err}
	if err == nil || link.Over(err) { // what it had said before it ended counts
		in = p.awaitPermission(r)
	}
	commits := in.event == succession.Commit
	inherits := p.heir && (in.event == succession.PredecessorDied || in.event == succession.PredecessorLeaves)
	if inherits && in.event == succession.PredecessorDied {
		p.d.log.Warn("the incumbent died before the commit; this process takes the sockets", "incumbent", p.link.Peer.PID)
	}
	if commits || inherits {
		err := r.Finish()
		if err == nil {
			err = p.d.Sections.Fresh(p.ready, r.Came)
		}
		if err != nil {
			in = input{event: succession.GiveUp, cause: err}
		}
	}
	if in.event != succession.Commit {
		in.cause = fmt.Errorf("before the commit: %w", p.link.Explain(in.cause))
	}
	return in
}

// sendReceipts sends what each offered thing was when it arrived, and whether the program asked for it.
func (p *predecessor) sendReceipts() error {
	d := p.d
	d.mu.Lock()
	d.sealed = true
	d.mu.Unlock()
	d.Sockets.Seal()
	claimed := make([]bool, len(p.offer))
	for i, s := range d.Sockets.Inherited(len(claimed)) {
		claimed[i] = s != nil
	}
	p.claimed = slices.Clone(claimed)
	receipts := make([]wire.Receipt, len(p.offer))
	for i, o := range p.offer {
		switch o.item.Kind {
		case wire.KindRendezvous, wire.KindStdout, wire.KindStderr:
			claimed[i] = true
		}
		receipts[i] = sockets.Receipt(o.info)
		receipts[i].Item, receipts[i].Claimed = i, claimed[i]
	}
	frames, err := wire.Receipts(receipts, d.confirmWithin().Milliseconds())
	if err == nil && p.state {
		frames, err = wire.AddSections(frames, d.Sections.Restorable())
	}
	if err != nil {
		return err
	}
	for _, m := range frames {
		if err := p.link.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// dropClosed tells the predecessor of the sockets that the program closed between their receipts and the commit.
func (p *predecessor) dropClosed() {
	inherited := p.d.Sockets.Inherited(len(p.claimed))
	for i, claimed := range p.claimed { // none if the predecessor left before the receipts
		if claimed && inherited[i] == nil {
			p.d.sendDrop(i)
		}
	}
}

// confirmWithin is how long after OWNED the predecessor may have to wait for CONFIRM.
func (d *Driver) confirmWithin() time.Duration {
	within := max(d.cfg.Probation, 0)
	if d.cfg.Check != nil {
		within += d.cfg.ReadyTimeout
	}
	return within
}
