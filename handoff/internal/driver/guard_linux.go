package driver

import (
	"time"

	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// supersede starts the drain. It closes the sockets that the successor did not ask for, after it has accepted and served what waited
// in their queues.
func (a *attempt) supersede(m *wire.Confirm) {
	d := a.d
	d.log.Info("superseded", "successor", a.pidNow())
	a.superseded = true
	a.confirmedNow()
	d.mu.Lock()
	a.endKnown = newEvent()
	d.mu.Unlock()
	a.guardEnds = time.Now().Add(max(d.cfg.Guard, 0))
	a.depart(m) // before the drain, which tells the clients of all other connections to leave
	a.confirmOver.happen()
	a.manifest.RetireUnclaimed(d.ctx)
	if a.kind != kindProxy { // a process that does not know segue names itself nowhere
		d.tellSupervisor(false)
	}
	d.nowSuperseded()
	a.confirmed()
}

// nowSuperseded has Wait go on.
func (d *Driver) nowSuperseded() {
	d.mu.Lock()
	s := d.superseding
	d.mu.Unlock()
	s.superseded.happen()
}

// successor is the process that has the sockets now.
func (a *attempt) successor() Peer {
	if a.kind == kindProxy {
		a.d.mu.Lock()
		defer a.d.mu.Unlock()
		return a.other
	}
	p := a.link.Peer
	return Peer{PID: p.PID, UID: p.UID, GID: p.GID}
}

// release gives revival up: from here this generation only drains. Its copies of the listeners are closed, since they
// would keep the ports open should the successor stop.
func (a *attempt) release() {
	d := a.d
	a.tellReleased()
	a.rec.stageEnds(timeline.StageGuard)
	a.rec.reached(timeline.Released)
	d.closeCopies()
	a.say(&wire.Released{})
	why := "the guard is over"
	switch a.lastEvent {
	case succession.ReleaseAsked:
		why = "the successor has one of its own"
	case succession.SuccessorLeaves, succession.DiedWished:
		why = "somebody ended the successor: " + a.cause.Error()
	}
	d.log.Info("released: this generation cannot be revived any more", "why", why)
}

// tellReleased says that the successor serves for good.
func (a *attempt) tellReleased() {
	if f := a.d.cfg.Released; f != nil {
		f(a.successor(), a.kind == kindProxy)
	}
}

// couldBeRevived reports whether the successor serves, and this generation would take over if it died.
func (a *attempt) couldBeRevived() bool {
	switch a.state() {
	case succession.Unconfirmed, succession.Guard, succession.Probing, succession.Asking:
		return true
	default:
		return false
	}
}

// closeCopies closes what somebody else owns: the copies would keep ports open, should that process end. Accept goes on
// until this generation is over. It cannot be revived from here on.
func (d *Driver) closeCopies() {
	d.held.Vacate()
	d.keeper.CloseCopy()
	d.released.happen()
}
