package driver

import (
	"time"

	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// reopen makes this generation the owner again. What cannot be opened at once, for want of descriptors or because somebody
// has the address meanwhile, is tried again until it can.
func (d *Driver) reopen(a *attempt) {
	d.mu.Lock()
	old := d.superseding
	revived := old.superseded.happened()
	if revived {
		d.superseding = newSuperseding()
	}
	d.mu.Unlock()
	if revived {
		old.revived.happen()
		old.end(errRevived) // before connections come back, so that no client whose connection stays is told to leave
	}
	d.tellAncestor(&wire.Owned{})
	a.sections.Release()  // before connections come back, whose requests would be turned away
	a.departure.End(true) // the successor is dead, or does not own
	a.manifest.RestoreBacklogs(true)
	waiting, err := a.manifest.Reopen(d.ctx, func(open func(bool)) {
		d.mu.Lock()
		defer d.mu.Unlock()
		open(true) // the attempt is over
	})
	d.supervisor.Lock()
	d.named = false // the successor may have named itself, also if it has not confirmed
	d.supervisor.Unlock()
	d.writePIDFiles()
	d.log.Warn("this generation serves again")
	d.mu.Lock()
	asked := a.upgradePassedOn
	d.mu.Unlock()
	if asked { // and the successor has not come to it
		d.askForUpgrade()
	}
	if len(waiting) > 0 {
		d.log.Error("some sockets cannot be opened yet; trying on", "error", err)
		d.task(func() { d.keepReopening(waiting) })
	}
}

// keepReopening ends when all is open, or this generation owns no more.
func (d *Driver) keepReopening(waiting []*sockets.Socket) {
	for len(waiting) > 0 {
		select {
		case <-time.After(sockets.RetryAfter):
		case <-d.ctx.Done():
			return
		}
		if !d.Phase().Owns() {
			return
		}
		waiting, _ = sockets.Reopen(d.ctx, waiting, d.whileServing)
	}
	d.log.Info("all sockets are open again")
}

// whileServing calls f while this generation owns and no switch begins, and says whether no successor is being told of its sockets.
func (d *Driver) whileServing(f func(untold bool)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.phase.Owns() {
		f(d.attempt == nil)
	}
}
