package driver

import (
	"context"
	"fmt"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/state"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// HandBack gives the sockets back, if there is somebody to give them to.
//
// What only one process may have is let go of first, while this generation serves on. The predecessor waits for an answer to
// PING meanwhile, so that takes less than StepTimeout, or it ends this process.
func (d *Driver) HandBack(cause error) bool {
	d.handback.Lock() // a second call finds what the first one has done
	defer d.handback.Unlock()
	d.mu.Lock()
	p := d.predecessor
	may := succession.MayHandBack(d.toPredecessor, d.toSuccessor)
	d.handingBack = may
	d.mu.Unlock()
	if !may {
		return d.alreadyHandedBack(cause)
	}
	defer func() {
		d.mu.Lock()
		d.handingBack = false
		d.tellNewsLocked()
		d.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(d.ctx, d.cfg.StepTimeout*3/4)
	defer cancel()
	var kept state.Held
	err := d.Sections.HoldExclusive(ctx, kept.Add)
	_, may = d.decideIf(p, input{event: succession.Unfit, cause: cause, held: err}, func() bool {
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
	return d.alreadyHandedBack(cause)
}

// alreadyHandedBack reports whether the sockets have gone back already.
func (d *Driver) alreadyHandedBack(cause error) bool {
	if d.hasHandedBack() {
		return true
	}
	if d.Phase() != succession.PhaseStopped { // otherwise it was said when it ended
		d.log.Warn("there is no predecessor that the sockets could go back to", "error", cause)
	}
	return false
}

// handBackSockets stops accepting, and then puts the token back. It reports whether the predecessor may say which connections return.
func (p *predecessor) handBackSockets(in input) bool {
	d := p.d
	cause, held := in.cause, in.held
	d.log.Error("this generation fails; the sockets go back", "error", cause)
	own := d.held.Own()
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
	p.fails(timeline.RolledBack, fmt.Errorf("%w: %w", link.ErrReturned, cause), true)
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
	d.afterHandBack(own, cause)
	return p.returns && held == nil && err == nil
}

// afterHandBack is what follows when the sockets have gone back. This generation owns nothing any more, and answers what it has
// accepted. With the feature "return", its connections follow the sockets as soon as the predecessor says CONFIRM: those that are idle at
// once, the others when they are answered. Otherwise, and when the link ends, their clients are told to leave. Wait or Close sees
// to the end. own is what the predecessor does not have, and so nobody serves any more.
func (d *Driver) afterHandBack(own []*sockets.Socket, cause error) {
	for _, s := range own {
		s.Retire(d.ctx)
	}
	d.closeCopies()
	d.setHandedBack(fmt.Errorf("%w: %w", ErrHandedBack, cause))
}

// returnConns moves connections to the predecessor, which has the sockets again and has said m, until its link ends.
func (p *predecessor) returnConns(m *wire.Confirm) {
	p.d.Conns.Return(p.link, m, p.d.inheritedPlaces().Socket)
}

// hasHandedBack reports whether the sockets go back to the predecessor, or have.
func (d *Driver) hasHandedBack() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.toPredecessor.HandedBack()
}
