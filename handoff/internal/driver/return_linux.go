package driver

import (
	"errors"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/spawn"
	"github.com/segue-go/segue/handoff/internal/state"
)

// takeReturning goes on with a successor that has handed back, if that is the cause for which this generation has come back. It
// reports whether connections return. They come over the link, which is theirs then.
func (a *attempt) takeReturning(cause error) bool {
	a.handedBack = errors.Is(cause, link.ErrReturned) && !errors.Is(cause, state.ErrStale)
	if !a.handedBack || !a.returns {
		return false
	}
	d := a.d
	in := d.Conns.From(a.link, a.places())
	if err := a.link.Send(in.Confirmation()); err != nil {
		d.log.Warn("the successor was not told which connections can return; it drains them", "successor", a.link.Peer.PID, "error", err)
		return false
	}
	a.linkGiven = true
	d.Conns.TakeBack(in)
	return true
}

// awaitChildEnd sees a child to its end that has handed back and answers what it has accepted. If kill, it has DrainTimeout for
// that, and a step to end.
func (d *Driver) awaitChildEnd(c *spawn.Child, kill bool) {
	var late <-chan time.Time
	if within := d.cfg.DrainTimeout; kill && within > 0 {
		t := time.NewTimer(within + d.cfg.StepTimeout)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-c.Peer.Done():
	case <-d.ctx.Done():
	case <-late:
		d.log.Warn("the failed successor has not drained in time and was killed", "successor", c.PID(), "error", c.Peer.Kill())
		<-c.Peer.Done()
	}
	c.Release()
}
