package handoff

import (
	"errors"
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/spawn"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// returner is a successor that has handed the sockets back and whose connections return. To this generation it is what a
// predecessor is that drains.
type returner struct {
	in   *inflow
	gone event // its link is closed
}

// getBack goes on with a successor that has handed back, if that is the cause for which this generation has come back. It
// reports whether connections return. The link is the returner's then.
func (a *attempt) getBack(cause error) bool {
	a.handedBack = errors.Is(cause, link.ErrReturned) && !errors.Is(cause, ErrStale)
	if !a.handedBack || !a.returns {
		return false
	}
	g := a.g
	in := &inflow{g: g, link: a.link, place: func(r *resource) (int, bool) {
		i := slices.Index(a.sockets, r)
		return i, i >= 0
	}}
	if err := a.link.Send(in.confirmation()); err != nil {
		g.log.Warn("the successor was not told which connections can return; it drains them", "successor", a.link.Peer.PID, "error", err)
		return false
	}
	r := &returner{in: in, gone: newEvent()}
	g.mu.Lock()
	g.returners = append(g.returners, r)
	g.mu.Unlock()
	a.parted = true
	g.task(r.attend)
	return true
}

// attend takes connections until the successor has no more, or ends.
func (r *returner) attend() {
	g, l := r.in.g, r.in.link
	n, err := r.in.attend(g.ctx, func(m wire.Message) (over bool) {
		_, over = m.(*wire.Bye)
		return over
	})
	if g.ctx.Err() == nil {
		g.log.Info("connections returned", "returned", n, "successor", l.Peer.PID, "end", endText(err))
	}
	l.Close()
	g.mu.Lock()
	g.returners = slices.DeleteFunc(g.returners, func(other *returner) bool { return other == r })
	g.mu.Unlock()
	r.gone.happen()
}

func endText(err error) string {
	if err == nil {
		return "all have"
	}
	return err.Error()
}

// seeOff sees a child to its end that has handed back and answers what it has accepted. If kill, it has DrainTimeout for
// that, and a step to end.
func (g *Generation) seeOff(c *spawn.Child, kill bool) {
	var late <-chan time.Time
	if d := g.cfg.DrainTimeout; kill && d > 0 {
		t := time.NewTimer(d + g.cfg.StepTimeout)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-c.Peer.Done():
	case <-g.ctx.Done():
	case <-late:
		g.log.Warn("the failed successor has not drained in time and was killed", "successor", c.PID(), "error", c.Peer.Kill())
		<-c.Peer.Done()
	}
	c.Release()
}
