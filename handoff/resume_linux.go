package handoff

import (
	"time"

	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// park takes everything out of the poller, for somebody else owns it.
func (g *Generation) park() error {
	g.mu.Lock()
	rendezvous := g.rendezvous
	g.mu.Unlock()
	return g.sockets.Park(rendezvous)
}

// resume makes this generation the owner again. What cannot be opened at once, for want of descriptors or because somebody
// has the address meanwhile, is tried again until it can.
func (g *Generation) resume(a *attempt) {
	g.mu.Lock()
	old := g.succession
	revived := old.superseded.happened()
	if revived {
		g.succession = newSuccession()
	}
	g.mu.Unlock()
	if revived {
		old.revived.happen()
		old.end(errRevived) // before connections come back, so that no client whose connection stays is told to leave
	}
	g.tellAncestor(&wire.Owned{})
	a.sections.Release()  // before connections come back, whose requests would be turned away
	a.departure.End(true) // the successor is dead, or has let go
	a.manifest.RestoreBacklogs(true)
	waiting, err := sockets.Reopen(g.ctx, a.manifest.Sockets())
	if revived {
		g.writePIDFiles()
	}
	g.log.Warn("this generation serves again")
	g.mu.Lock()
	asked := a.passedOn
	g.mu.Unlock()
	if asked { // and the successor has not come to it
		g.beAsked()
	}
	if len(waiting) > 0 {
		g.log.Error("some sockets cannot be opened yet; trying on", "error", err)
		g.task(func() { g.keepReopening(waiting) })
	}
}

// keepReopening ends when all is open, or this generation owns no more.
func (g *Generation) keepReopening(waiting []*sockets.Socket) {
	for len(waiting) > 0 {
		select {
		case <-time.After(sockets.RetryAfter):
		case <-g.ctx.Done():
			return
		}
		g.mu.Lock() // no switch begins meanwhile
		if !g.phase.owner() {
			g.mu.Unlock()
			return
		}
		waiting, _ = sockets.Reopen(g.ctx, waiting)
		g.mu.Unlock()
	}
	g.log.Info("all sockets are open again")
}
