package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// confirmed makes this generation superseded. What the successor did not ask for is closed now: its queue is emptied
// first, and what was in it served.
func (a *attempt) confirmed(m *wire.Confirm) {
	g := a.g
	g.log.Info("superseded", "successor", a.pidNow())
	a.depart(m) // before anybody drains, so that nobody is told to leave who can move
	if a.settled.c != nil {
		a.settled.happen()
	}
	g.setPhase(PhaseDraining)
	for i, r := range a.sockets {
		if a.claimed[i] || r.sock == nil {
			continue
		}
		g.log.Info("the successor did not ask for it; closed", "name", r.item.Name)
		if err := g.persist(r.retire); err != nil {
			g.log.Error("closed with connections in its queue", "name", r.item.Name, "error", err)
			_ = r.vacate()
		}
		if _, ok := r.sock.(*listener.Listener); !ok {
			continue // it is served until this generation is done
		}
		r.retired = true
		if r.sock.UnlinkOnClose() {
			if err := (*listener.UnixPath)(r.item.Unlink).Unlink(); err != nil {
				g.log.Warn("a path was left behind", "name", r.item.Name, "error", err)
			}
		}
	}
	g.mu.Lock()
	s := g.succession
	g.mu.Unlock()
	s.superseded.happen()
}

// guard keeps this generation revivable for a while, and then lets go for good, if the successor is still well: one that
// was stopped in the meantime does not answer the PING. One that does not answer a batch of connections is asked earlier,
// since their clients wait. It returns when there is nothing left to do.
func (a *attempt) guard() {
	g := a.g
	defer a.departure.end(false)
	ends := time.Now().Add(max(g.cfg.Guard, 0))
	var pinged time.Time // when an answer was asked for that has not come
	if g.cfg.Guard < 0 {
		a.release("no guard is configured")
	}
	for !a.released() {
		until := ends
		if !pinged.IsZero() {
			until = pinged.Add(g.cfg.StepTimeout)
		} else if t, ok := a.departure.overdue(); ok && t.Before(until) {
			until = t
		}
		// No longer than a step: a batch may be sent meanwhile.
		f, err := a.link.recv(g.ctx, max(min(time.Until(until), g.cfg.StepTimeout), time.Millisecond))
		switch {
		case err == nil:
			f.raw.Close()
			switch m := f.msg.(type) {
			case *wire.Failed:
				a.revive(a.link.unexpected(m))
				return
			case *wire.Pong:
				switch {
				case pinged.IsZero() || a.link.peer.Dead(): // if it has died since, the next recv says so
				case time.Now().Before(ends):
					pinged = time.Time{}
					a.departure.excuse()
				default:
					a.release("the guard is over")
				}
			default:
				a.heard(m)
			}
		case g.ctx.Err() != nil:
			return // done, or closed: Close gives up the rest
		case a.wished(err):
			a.release("somebody ended the successor: " + err.Error())
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(until):
		case errors.Is(err, os.ErrDeadlineExceeded) && pinged.IsZero():
			pinged = time.Now()
			if err := a.link.send(&wire.Ping{}); err != nil {
				g.log.Debug("ping", "error", err) // recv is going to say what that means
			}
		default:
			a.revive(err)
			return
		}
	}
	a.passOn()
	a.departure.end(g.ctx.Err() == nil)
	// What becomes of the successor is not this generation's business any more, but for a child that has to be reaped.
	select {
	case <-g.ctx.Done():
	case <-a.link.peer.Done():
		if a.child != nil {
			a.child.leave()
		}
		<-g.ctx.Done()
	}
}

// passOn goes on moving connections after the guard, until the link ends. Nothing else hangs on that any more, but BYE goes
// over it when this generation is drained.
func (a *attempt) passOn() {
	g := a.g
	for {
		f, err := a.link.recv(g.ctx, g.cfg.StepTimeout)
		switch {
		case err == nil:
			f.raw.Close()
			switch m := f.msg.(type) {
			case *wire.Release:
				_ = a.link.send(&wire.Released{})
			case *wire.Taken:
				a.departure.taken(m)
			}
		case errors.Is(err, os.ErrDeadlineExceeded) && g.ctx.Err() == nil:
			if t, ok := a.departure.overdue(); ok && time.Now().After(t) {
				n := a.departure.excuse()
				g.log.Warn("the successor does not answer; is it stopped or stuck? clients wait for it",
					"successor", a.link.peer.PID, "connections", n)
			}
		default:
			return
		}
	}
}

// revive takes the sockets back from a successor that failed after it had confirmed.
func (a *attempt) revive(cause error) {
	g := a.g
	err := a.takeBack(fmt.Errorf("within the guard: %w", cause), true)
	if err == nil {
		return
	}
	g.mu.Lock()
	g.lastError = err
	g.mu.Unlock()
	g.log.Error("the successor failed", "error", err)
}

// heard acts on what a successor says within the guard.
func (a *attempt) heard(m wire.Message) {
	switch m := m.(type) {
	case *wire.Release:
		a.release("the successor has one of its own")
	case *wire.Goodbye:
		a.release("the successor stops for good: " + m.Reason)
	case *wire.Drop:
		a.dropped(m)
	case *wire.Taken:
		a.departure.taken(m)
	}
}

// wished reports whether somebody wanted the end that err tells of. A successor that hung up without dying has time to
// die: its descriptors go before its pidfd tells.
func (a *attempt) wished(err error) bool {
	if !over(err) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.g.cfg.StepTimeout)
	defer cancel()
	e, ok := a.link.peer.WaitExit(ctx) // known once its parent has reaped it; not knowing means a failure
	return ok && e.Wish()
}

// forgo accepts that the successor ended at somebody's wish before it had confirmed: nobody is to serve.
func (a *attempt) forgo(cause error) error {
	g := a.g
	g.log.Warn("the successor was ended before it had confirmed, at somebody's wish; nobody is revived", "error", cause)
	g.setPhase(PhaseDraining)
	g.mu.Lock()
	s := g.succession
	g.mu.Unlock()
	a.release("the successor was ended")
	s.superseded.happen()
	return cause
}

func (a *attempt) released() bool {
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	return a.g.succession.released.happened()
}

// release gives revival up: from here this generation only drains. Its copies of the listeners are closed, since they
// would keep the ports open should the successor stop.
func (a *attempt) release(why string) {
	g := a.g
	g.mu.Lock()
	s := g.succession
	claimed := g.claimed
	rendezvous := g.rendezvous
	g.mu.Unlock()
	for _, r := range claimed {
		if err := r.vacate(); err != nil {
			g.log.Warn("close a copy", "name", r.item.Name, "error", err)
		}
	}
	if rendezvous != nil {
		rendezvous.giveUp(false)
	}
	s.released.happen()
	if err := a.link.send(&wire.Released{}); err != nil && !over(err) && !errors.Is(err, net.ErrClosed) {
		g.log.Debug("released", "error", err)
	}
	g.log.Info("released: this generation cannot be revived any more", "why", why)
}

// dropped closes this generation's copy of a socket that the successor has closed.
func (a *attempt) dropped(m *wire.Drop) {
	if m.Item >= len(a.sockets) || a.sockets[m.Item].sock == nil || a.sockets[m.Item].item.Kind == wire.KindRendezvous {
		return
	}
	if err := a.sockets[m.Item].vacate(); err != nil {
		a.g.log.Warn("close a copy", "name", a.sockets[m.Item].item.Name, "error", err)
	}
}
