package handoff

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// commit pauses, lets go, and waits for the successor to own. On an error this generation owns again, or it stays paused
// because the successor owns and cannot be ended.
func (a *attempt) commit(ctx context.Context) error {
	g := a.g
	g.mu.Lock()
	switch {
	case g.changes != a.changes:
		g.mu.Unlock()
		return a.giveUp(ErrChanged)
	case g.phase != PhaseOffering || g.closing:
		g.mu.Unlock()
		return a.giveUp(net.ErrClosed)
	}
	for i, r := range a.sockets {
		if a.claimed[i] {
			r.fresh = false // from here on the path may be the successor's
		}
	}
	if a.confirmWithin == 0 {
		a.settled = newEvent()
	}
	tell := g.setPhaseLocked(PhaseSwitching)
	g.mu.Unlock()
	tell()
	err := a.pauseAndSave(ctx)
	if a.bequeathable(err) {
		a.bequeath()
		return err
	}
	if err == nil {
		err = a.askToOwn()
	}
	if err != nil {
		if err = a.takeBack(err, false); err != nil {
			return a.link.explain(err)
		}
	}
	g.setPhase(PhaseGuarding)
	if err := g.parkClaimed(a); err != nil {
		g.log.Warn("a paused socket stays in the poller, which costs the successor time", "error", err)
	}
	return nil
}

// askToOwn gives the permission to take the token, and waits until the successor has.
func (a *attempt) askToOwn() error {
	err := a.link.send(&wire.Commit{})
	if err == nil {
		// Neither the caller's context nor Close ends this wait: who owns must be known first.
		err = a.awaitOwned(context.Background())
	}
	if err != nil {
		return fmt.Errorf("after the commit: %w", err)
	}
	return nil
}

// awaitOwned waits for OWNED. A socket that the program closes as soon as it owns it may be dropped before; that counts
// only if it owned.
func (a *attempt) awaitOwned(ctx context.Context) error {
	deadline := time.Now().Add(a.g.cfg.StepTimeout)
	var drops []*wire.Drop
	for {
		f, err := a.link.recv(ctx, max(time.Until(deadline), time.Millisecond))
		if err != nil {
			return err
		}
		f.raw.Close()
		switch m := f.msg.(type) {
		case *wire.Owned:
			for _, d := range drops {
				a.dropped(d)
			}
			return nil
		case *wire.Drop:
			if len(drops) == len(a.sockets) {
				return fmt.Errorf("%w: more sockets dropped than offered", ErrProtocol)
			}
			drops = append(drops, m)
		default:
			return a.link.unexpected(m)
		}
	}
}

// awaitConfirm waits until the successor is well. On an error the sockets are back, or have been given up (net.ErrClosed).
func (a *attempt) awaitConfirm() (*wire.Confirm, error) {
	g := a.g
	deadline := time.Now().Add(a.confirmWithin + g.cfg.StepTimeout)
	for {
		f, err := a.link.recv(g.ctx, max(time.Until(deadline), time.Millisecond))
		if err != nil {
			err = fmt.Errorf("before it confirmed: %w", err)
			if g.ctx.Err() != nil {
				return nil, err // closed; the successor serves on
			}
			if a.wished(err) {
				return nil, a.forgo(err)
			}
			return nil, a.takeBack(err, true)
		}
		f.raw.Close()
		switch m := f.msg.(type) {
		case *wire.Confirm:
			return m, nil
		case *wire.Drop:
			a.dropped(m)
		case *wire.Failed:
			return nil, a.takeBack(a.link.unexpected(m), true)
		case *wire.Goodbye:
			return nil, a.forgo(a.link.unexpected(m))
		}
	}
}

// takeBack makes this generation the owner again, if the token is still there, or once the successor is certainly dead.
// It returns cause then. It returns nil if the successor owned after all and had only been slow to say so, which is
// possible until OWNED has been seen.
func (a *attempt) takeBack(cause error, seenOwned bool) error {
	g := a.g
	mine, err := a.token.take()
	if mine {
		cause = a.comeBack(cause, seenOwned)
		a.dismiss(cause)
		return cause
	}
	if err != nil {
		cause = fmt.Errorf("%w; %w", cause, err)
	}
	p := a.link.peer
	err = a.fence(p)
	if err == nil {
		return a.comeBack(fmt.Errorf("%w; successor pid %d had the sockets and is dead%s", cause, p.PID, exitText(p)), true)
	}
	g.log.Error("the successor owns the sockets, does not answer and cannot be killed; this process stays paused until it ends",
		"successor", p.PID, "cause", cause, "error", err)
	for {
		f, err := a.link.recv(g.ctx, 0)
		switch {
		case g.ctx.Err() != nil:
			return cause
		case err != nil:
			select {
			case <-p.Done():
				return a.comeBack(fmt.Errorf("%w; successor pid %d ended at last%s", cause, p.PID, exitText(p)), true)
			case <-g.ctx.Done():
				return cause
			}
		}
		f.raw.Close()
		switch m := f.msg.(type) {
		case *wire.Owned, *wire.Confirm:
			if !seenOwned {
				return nil
			}
		case *wire.Failed:
			if mine, _ := a.token.take(); mine {
				return a.comeBack(fmt.Errorf("%w; %w", cause, a.link.unexpected(m)), true)
			}
		}
	}
}

// fence ends a successor that owns, and sees it dead: only then may this generation serve again.
func (a *attempt) fence(p *peer.Peer) error {
	if p.Dead() {
		return nil
	}
	if err := p.Kill(); err != nil {
		return err
	}
	t := time.NewTimer(a.g.cfg.StepTimeout)
	defer t.Stop()
	select {
	case <-p.Done():
		return nil
	case <-t.C:
		return fmt.Errorf("it does not die: %w", os.ErrDeadlineExceeded)
	}
}

func exitText(p *peer.Peer) string {
	if e, ok := p.Exit(); ok {
		return " (" + e.String() + ")"
	}
	return ""
}
