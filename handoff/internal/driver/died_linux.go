package driver

import (
	"fmt"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// This is what a generation that drains makes of the end of the successor to which it was released. It cannot serve again,
// since its copies of the sockets are closed. But it can tell a supervisor that nobody serves.

// orphaned is for the death of a released successor that nobody wished, and that left nobody to serve.
func (a *attempt) orphaned() {
	d, p := a.d, a.link.Peer
	err := fmt.Errorf("%w: pid %d%s", ErrSuccessorDied, p.PID, exitText(p))
	d.mu.Lock()
	d.died, d.lastError = err, failed("upgrade", d.phase, err)
	d.mu.Unlock()
	a.rec.result(timeline.Orphaned, err)
	a.rec.tell(err)
	d.log.Error("the successor died after the guard: nobody serves, and this process cannot any more; start the program anew "+
		"(this process drains, and ends with an error then)", "error", err)
}

// sayBye tells the generation that owns, which is the successor or a predecessor that has the sockets again, that this one is drained and
// ends. The error says that the successor has died and nobody wished it.
func (d *Driver) sayBye() error {
	if d.hasHandedBack() {
		_ = d.predecessor.link.Send(&wire.Bye{})
		return nil
	}
	d.mu.Lock()
	a := d.attempt
	var known event
	if a != nil {
		known = a.endKnown
	}
	d.mu.Unlock()
	if known.none() {
		return nil
	}
	a.lastReport()
	if link.Over(a.link.Send(&wire.Bye{})) || a.link.Peer.Dead() { // what is known of that may be about to be found out
		t := time.NewTimer(2 * d.cfg.StepTimeout)
		defer t.Stop()
		select {
		case <-known.c:
		case <-d.ctx.Done():
		case <-t.C:
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.died
}
