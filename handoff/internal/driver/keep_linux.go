package driver

import (
	"fmt"
	"time"

	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/rendezvous"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/listener"
)

// keepsRendezvous reports whether the rendezvous is this generation's to keep.
func (d *Driver) keepsRendezvous() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.phase.Owns() && !d.endsLocked()
}

// awaitCallers begins to accept successors. Those that come before Ready wait for it.
func (d *Driver) awaitCallers(l *listener.Listener) {
	d.fillSpares()
	a := rendezvous.Acceptor{Listener: l, Spares: &d.spares, Fill: d.fillSpares, Log: d.log, Task: d.task, Receive: d.serveCaller}
	d.task(func() { a.Run(d.ctx) })
}

// keepAfterAttempt keeps the rendezvous at the end of an attempt, where the path may still be that of a failed successor,
// which is about to remove it.
func (d *Driver) keepAfterAttempt() {
	if !d.keeper.Keep(true) {
		return
	}
	d.task(func() {
		select {
		case <-time.After(peer.ExitGrace):
		case <-d.ctx.Done():
		}
		d.mu.Lock()
		busy := d.attempt != nil // an attempt keeps the rendezvous itself, and may have offered it
		d.mu.Unlock()
		if !busy {
			d.keeper.Keep(false)
		}
	})
}

// maybeUnreachable is for the EADDRINUSE of a generation that found no incumbent. It adds which process may have the address.
func (d *Driver) maybeUnreachable(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cfg.Path == "" || d.predecessor != nil || d.phase != succession.PhaseStarting {
		return err
	}
	return fmt.Errorf("%w; nobody answered at %s, but an incumbent may have the address whose rendezvous was removed, or that has "+
		"another Path: find it (ss -lnptux), and have it upgrade by its signal or Generation.Upgrade, which binds the rendezvous again; "+
		"or end it", err, d.cfg.Path)
}
