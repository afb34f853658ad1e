package handoff

import (
	"time"

	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// supersede starts the drain. What the successor did not ask for is closed now: its queue is emptied first, and what was in it
// served.
func (a *attempt) supersede(m *wire.Confirm) {
	g := a.g
	g.log.Info("superseded", "successor", a.pidNow())
	a.superseded = true
	g.mu.Lock()
	a.judged = newEvent()
	g.mu.Unlock()
	a.guardEnds = time.Now().Add(max(g.cfg.Guard, 0))
	a.depart(m) // before anybody drains, so that nobody is told to leave who can move
	if a.settled.c != nil {
		a.settled.happen()
	}
	a.manifest.RetireUnclaimed(g.ctx)
	g.nowSuperseded()
	a.confirmed()
}

// nowSuperseded tells those who wait for it.
func (g *Generation) nowSuperseded() {
	g.mu.Lock()
	s := g.succession
	g.mu.Unlock()
	s.superseded.happen()
}

// successor is the process that has the sockets now.
func (a *attempt) successor() Peer {
	if a.foreign {
		a.g.mu.Lock()
		defer a.g.mu.Unlock()
		return a.other
	}
	p := a.link.Peer
	return Peer{PID: p.PID, UID: p.UID, GID: p.GID}
}

// release gives revival up: from here this generation only drains. Its copies of the listeners are closed, since they
// would keep the ports open should the successor stop.
func (a *attempt) release() {
	g := a.g
	if f := g.cfg.Trace.Released; f != nil {
		f(a.successor())
	}
	g.letGoOfCopies()
	a.say(&wire.Released{})
	why := "the guard is over"
	switch a.last {
	case succession.ReleaseAsked:
		why = "the successor has one of its own"
	case succession.SuccessorLeaves, succession.DiedWished:
		why = "somebody ended the successor: " + a.cause.Error()
	}
	g.log.Info("released: this generation cannot be revived any more", "why", why)
}
