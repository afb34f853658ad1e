package handoff

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// pauseClaimed pauses what the successor of a asked for. On return no accept is in flight.
func (g *Generation) pauseClaimed(a *attempt) error {
	for i, r := range a.sockets {
		if !a.claimed[i] || r.sock == nil {
			continue
		}
		if err := r.sock.Pause(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("%s: %w", r.item.Name, err)
		}
	}
	return nil
}

// parkClaimed takes what somebody else owns now out of the poller: what the successor of a asked for, or everything.
func (g *Generation) parkClaimed(a *attempt) error {
	var all []*resource
	if a == nil {
		g.mu.Lock()
		all = append(all, g.claimed...)
		if g.rendezvous != nil {
			all = append(all, g.rendezvous)
		}
		g.mu.Unlock()
	} else {
		for i, r := range a.sockets {
			if a.claimed[i] {
				all = append(all, r)
			}
		}
	}
	g.mu.Lock()
	for _, r := range all {
		r.fresh = false
	}
	g.mu.Unlock()
	var errs error
	for _, r := range all {
		if r.sock == nil {
			continue
		}
		if err := r.sock.Park(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = errors.Join(errs, fmt.Errorf("%s: %w", r.item.Name, err))
		}
	}
	return errs
}

// retire closes a listener that nobody serves any more, but not its Accept: that hands out what was still in the queue, and
// then blocks until the generation is done. A packet socket stays open, since answers go out through it.
func (r *resource) retire() error { return r.part((*listener.Listener).Retire) }

// vacate is the same for a listener whose queue is somebody else's.
func (r *resource) vacate() error { return r.part((*listener.Listener).Vacate) }

func (r *resource) part(with func(*listener.Listener) error) error {
	l, ok := r.sock.(*listener.Listener)
	if !ok {
		return nil
	}
	if err := with(l); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// unlinkNow is what the manifest says of the file now: a successor that was built with an older segue removes it only if
// its ctime is the one that it was told, too.
func (r *resource) unlinkNow() *wire.Unlink {
	u := r.item.Unlink
	if u == nil {
		return nil
	}
	now, err := listener.StatUnixPath(u.Path)
	if err != nil || now.Dev != u.Dev || now.Ino != u.Ino {
		return u
	}
	return (*wire.Unlink)(now)
}

// retire closes a socket that nobody serves any more, also its path.
func (g *Generation) retire(r *resource) {
	if _, ok := r.sock.(*listener.Listener); !ok { // it is served until this generation is done, and is nobody else's any more
		g.mu.Lock()
		r.fresh = true
		g.mu.Unlock()
		return
	}
	r.unlink()
	if err := g.persist(r.retire); err != nil {
		g.log.Error("closed with connections in its queue", "name", r.item.Name, "error", err)
		_ = r.vacate()
	}
	r.retired = true
}

// rebind undoes retire.
func (r *resource) rebind() error {
	l, ok := r.sock.(*listener.Listener)
	if !ok {
		return nil
	}
	ln, err := r.listen()
	if err != nil {
		return err
	}
	r.item.Unlink = boundPath(ln.Addr())
	if err := l.Reset(ln, (*listener.UnixPath)(r.item.Unlink)); err != nil {
		_ = ln.Close()
		return err
	}
	l.SetUnlinkOnClose(r.item.UnlinkOnClose)
	r.item.Bound, r.retired = true, false
	r.noteBacklog()
	return nil
}

// persist calls f until it succeeds, for a second: descriptors may have run out for a moment.
func (g *Generation) persist(f func() error) error {
	for try := 0; ; try++ {
		err := f()
		if err == nil || try == 20 {
			return err
		}
		select {
		case <-time.After(resumeRetry):
		case <-g.ctx.Done():
			return err
		}
	}
}

// resumeRetry is how long to wait before another try to open a socket.
const resumeRetry = 50 * time.Millisecond

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
	a.sections.letGo(g)   // before connections come back, whose requests would be turned away
	a.departure.End(true) // the successor is dead, or has let go
	a.restoreBacklogs(true)
	waiting, err := reopen(a.sockets)
	if revived {
		g.writePIDFile()
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
func (g *Generation) keepReopening(waiting []*resource) {
	for len(waiting) > 0 {
		select {
		case <-time.After(resumeRetry):
		case <-g.ctx.Done():
			return
		}
		g.mu.Lock() // no switch begins meanwhile
		if !g.phase.owner() {
			g.mu.Unlock()
			return
		}
		waiting, _ = reopen(waiting)
		g.mu.Unlock()
	}
	g.log.Info("all sockets are open again")
}

// reopen opens what was paused, parked or retired, and returns what is to be tried again, and why.
func reopen(sockets []*resource) (again []*resource, errs error) {
	for _, r := range sockets {
		if r.sock == nil {
			continue
		}
		var err error
		switch {
		case r.item.Kind == wire.KindRendezvous:
			err = relisten(r.sock) // it names the failed successor
		case r.retired:
			err = r.rebind()
		}
		if err == nil {
			err = r.sock.Open()
		}
		if err != nil && !errors.Is(err, net.ErrClosed) {
			again, errs = append(again, r), errors.Join(errs, fmt.Errorf("%s: %w", r.item.Name, err))
		}
	}
	return again, errs
}
