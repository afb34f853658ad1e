package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/state"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// This is the incumbent's driver: it makes events of what the successor says and of what becomes of it, has the table of
// package succession decide, and carries the actions out (act_linux.go). What comes before the commit is straight-line, in
// attempt_linux.go.

// handOver runs an attempt. It returns an error if the successor did not come to confirm. Otherwise it calls confirmed
// then, and returns when there is nothing left to wait for. ctx bounds it up to the commit.
func (a *attempt) handOver(ctx context.Context, confirmed func()) error {
	d := a.d
	a.ctx, a.confirmed = ctx, confirmed
	defer func() { // ends what has begun meanwhile
		a.endReports()
		a.departure.End(false)
		a.endKnown.happen()
	}()
	a.decide(a.prepare(ctx))
	for !a.done && a.state().Waits() {
		a.decide(a.await())
	}
	if a.superseded && !a.failed {
		return nil
	}
	if !a.superseded {
		err := a.link.Explain(a.cause)
		if a.dry() { // it says nothing about an upgrade
			d.log.Info("a dry run has ended", "successor", a.pidNow(), "result", err)
			return nil
		}
		d.setLastError(d.failure("upgrade", err))
		return err
	}
	err := d.failure("upgrade", a.cause)
	d.setLastError(err)
	if !errors.Is(err, state.ErrStale) { // else it was said
		d.log.Error("the successor failed", "error", err)
	}
	return nil
}

// decide has the table decide, and carries out what it says. The report of an action is decided next.
func (a *attempt) decide(e succession.IncumbentEvent) {
	d := a.d
	for again := true; again; {
		if e == succession.Close && a.couldBeRevived() {
			a.tellReleased() // before the phase is stopped, so that a service manager knows the process that serves on
		}
		d.mu.Lock()
		if e == succession.Agreed {
			if a.cause = a.checkAgreedLocked(); a.cause != nil {
				d.mu.Unlock()
				e = a.endsWith(a.cause, succession.AttemptFailed)
				continue
			}
		}
		from := d.toSuccessor
		decided := d.asIncumbentLocked(e)
		if d.toSuccessor != from {
			a.entered = time.Now()
		}
		d.mu.Unlock()
		if !slices.Contains(decided.do, succession.Reopen) {
			d.report(decided)
		}
		if e == succession.Owned && from == succession.Committed {
			a.rec.opened(false)
			a.rec.reached(timeline.Owned)
			a.rec.stage(timeline.StageProbation)
		}
		a.lastEvent = e
		again = false
		for _, action := range decided.do {
			if report, ok := a.act(action); ok {
				e, again = report, true
			}
			if action == succession.Reopen {
				d.report(decided) // now that it is true, and the ancestor was told
			}
		}
		if s := a.state(); !a.done && (s == succession.ReleasedAlone || s == succession.Orphaned) {
			a.endKnown.happen()
		}
	}
}

// state is the one of the generation, since only one attempt is under way.
func (a *attempt) state() succession.Incumbent {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	return a.d.toSuccessor
}

// await returns the next event of a state that waits.
func (a *attempt) await() succession.IncumbentEvent {
	for {
		state := a.state()
		if state == succession.Closed { // by somebody else
			return succession.Close
		}
		if a.linkEnded {
			return a.awaitDeath()
		}
		ctx := a.d.ctx
		if state == succession.Committed {
			// Neither the caller's context nor Close ends this wait: it must be known first which process owns.
			ctx = context.Background()
		}
		if len(a.queued) > 0 {
			m := a.queued[0]
			a.queued = a.queued[1:]
			return a.event(state, m)
		}
		e, until, look := a.deadline(state)
		f, err := a.link.RecvBy(ctx, look, until.Sub(a.entered))
		switch {
		case err == nil:
			f.Raw.Close()
			return a.event(state, f.Msg)
		case ctx.Err() != nil:
			a.because(state, err)
			return succession.Close
		case errors.Is(err, os.ErrDeadlineExceeded) && (until.IsZero() || time.Now().Before(until)):
			// Something may be due now that was not when this wait began.
		case errors.Is(err, os.ErrDeadlineExceeded):
			a.because(state, link.NoAnswer(until.Sub(a.entered)))
			if e == succession.GuardOver {
				a.guardReported = true
			}
			return e
		default:
			a.linkEnded = true
			e := a.linkEnd(state, err)
			if e == succession.Died && !errors.Is(err, link.ErrPeerDied) {
				err = fmt.Errorf("%w: %w", link.ErrPeerDied, err) // it has died while linkEnd waited
			}
			a.because(state, err)
			return e
		}
	}
}

// deadline returns the event to report next if nothing else happens, when, and when to ask again at the latest. No event: until is
// zero. It does not move because the successor says something: what is queued then counts, and nothing that it says later.
func (a *attempt) deadline(state succession.Incumbent) (e succession.IncumbentEvent, until, look time.Time) {
	step := a.d.cfg.StepTimeout
	sooner := func(other succession.IncumbentEvent, at time.Time) {
		if until.IsZero() || at.Before(until) {
			e, until = other, at
		}
	}
	switch state {
	case succession.Committed, succession.Probing, succession.Asking:
		sooner(succession.Timeout, a.entered.Add(step))
	case succession.Unconfirmed:
		sooner(succession.Timeout, a.entered.Add(a.confirmWithin+step))
	}
	if (state == succession.Guard || state == succession.Probing) && !a.guardReported {
		sooner(succession.GuardOver, a.guardEnds)
	}
	moves := state == succession.Guard || state == succession.Released || state == succession.Relieved
	if moves {
		if t, ok := a.departure.Overdue(); ok {
			sooner(succession.BatchOverdue, t)
		}
	}
	look = until
	if soon := time.Now().Add(step); moves && (look.IsZero() || look.After(soon)) {
		look = soon // a batch may be sent meanwhile
	}
	return e, until, look
}

// event makes an event of what the successor says.
func (a *attempt) event(state succession.Incumbent, m wire.Message) succession.IncumbentEvent {
	a.frame = m
	switch m := m.(type) {
	case *wire.Owned:
		if state == succession.Committed && a.token.Present() && !a.hasPutBack() {
			a.because(state, fmt.Errorf("%w: %s says OWNED and has not read the token", link.ErrProtocol, a.link.Who()))
			return succession.OwnedUnread
		}
		return succession.Owned
	case *wire.Confirm:
		return a.notAnswer(state, succession.Confirm)
	case *wire.Failed:
		if m.Returned {
			a.because(state, a.link.Unexpected(m))
			return succession.Returned
		}
		if !blocked(state) { // where it means nothing, however often it comes
			a.because(state, a.link.Unexpected(m))
		}
		return succession.Failed
	case *wire.Goodbye:
		a.because(state, a.link.Unexpected(m))
		return succession.SuccessorLeaves
	case *wire.Release:
		return a.notAnswer(state, succession.ReleaseAsked)
	case *wire.Pong:
		if a.link.Peer.Dead() {
			return a.notAnswer(state, succession.OtherFrame) // Recv says next that it has died since
		}
		return a.notAnswer(state, succession.Pong)
	case *wire.Drop:
		if len(a.drops) == a.manifest.Len() && (state == succession.Committed || state == succession.BlockedCommitted) {
			return a.notAnswer(state, succession.OtherFrame) // more than were offered
		}
		return succession.Drop
	case *wire.Taken:
		return a.notAnswer(state, succession.Taken)
	default:
		return a.notAnswer(state, succession.OtherFrame)
	}
}

// hasPutBack reports whether a successor that says OWNED while the token is there has put it back. Such a successor says FAILED with
// returned next. Frames that come before that are kept in queued.
func (a *attempt) hasPutBack() bool {
	ctx, cancel := context.WithTimeout(context.Background(), min(a.d.cfg.StepTimeout, peer.ExitGrace))
	defer cancel()
	for len(a.queued) <= a.manifest.Len() {
		f, err := a.link.Recv(ctx, 0)
		if err != nil {
			return false // Recv says it again
		}
		f.Raw.Close()
		a.queued = append(a.queued, f.Msg)
		if m, ok := f.Msg.(*wire.Failed); ok {
			return m.Returned
		}
	}
	return false
}

// notAnswer returns e. In Committed, where the frame ends the attempt because it does not answer COMMIT, it notes that as the cause.
func (a *attempt) notAnswer(state succession.Incumbent, e succession.IncumbentEvent) succession.IncumbentEvent {
	if state == succession.Committed {
		a.because(state, a.link.Unexpected(a.frame))
	}
	return e
}

// linkEnd makes an event of the end of the link. The kernel closes the descriptors of a process that dies before its pidfd tells of
// the death. So a successor that hung up has time to die, except:
//
//	Committed: nobody accepts meanwhile
//	Relieved:  its end does not matter
func (a *attempt) linkEnd(state succession.Incumbent, err error) succession.IncumbentEvent {
	switch {
	case !link.Over(err):
		return succession.LinkEnd // it sends what nobody understands
	case state != succession.Committed && state != succession.Relieved && a.wished():
		return succession.DiedWished
	case a.d.ctx.Err() != nil && state != succession.Committed:
		return succession.Close
	case a.link.Peer.Dead():
		return succession.Died
	default:
		return succession.LinkEnd
	}
}

// awaitDeath is await when the link has ended: only a death is left.
func (a *attempt) awaitDeath() succession.IncumbentEvent {
	var died <-chan struct{}
	if !a.deathReported {
		died = a.link.Peer.Done()
	}
	select {
	case <-a.d.ctx.Done():
		return succession.Close
	case <-died:
	}
	a.deathReported = true
	wished := a.wished()
	if a.kind == kindChild {
		a.child.Release()
	}
	a.because(a.state(), errDied{fmt.Errorf("%s ended at last%s", a.link.Who(), exitText(a.link.Peer))})
	if wished {
		return succession.DiedWished
	}
	return succession.Died
}

// wished reports whether somebody ended the successor on purpose. That is known once its parent has reaped it. If it is not known
// within StepTimeout, the end counts as a failure.
func (a *attempt) wished() bool {
	if a.link.Peer.Self() {
		return false
	}
	ctx, cancel := context.WithTimeout(a.d.ctx, a.d.cfg.StepTimeout)
	defer cancel()
	e, ok := a.link.Peer.WaitExit(ctx)
	return ok && e.Wish()
}

// because keeps why the attempt fails, if it does. A newer reason replaces the older one. While the successor cannot be killed,
// it is added to it.
func (a *attempt) because(state succession.Incumbent, err error) {
	switch state {
	case succession.Committed:
		a.cause = fmt.Errorf("after the commit: %w", err)
	case succession.Guard, succession.Probing, succession.Asking:
		a.cause = fmt.Errorf("within the guard: %w", err)
	case succession.Unconfirmed:
		a.cause = fmt.Errorf("before it confirmed: %w", err)
	default:
		if blocked(state) {
			err = also(a.cause, err)
		}
		a.cause = err
	}
}

// blocked reports whether state is one in which the successor owns, did not answer, and cannot be killed.
func blocked(state succession.Incumbent) bool {
	return state == succession.BlockedCommitted || state == succession.BlockedOwned || state == succession.BlockedGuard
}

// checkAgreedLocked is the last look before the switch: what has been agreed may not hold any more.
func (a *attempt) checkAgreedLocked() error {
	d := a.d
	switch {
	case a.manifest.Changed():
		return ErrChanged
	case d.endsLocked() || !d.phase.Owns() || !succession.MayCommit(d.toPredecessor):
		return net.ErrClosed
	}
	a.manifest.Give()
	if a.confirmWithin == 0 {
		a.confirmOver = newEvent()
	}
	return nil
}

// endsWith is CloseForHeir if cause says that this generation is being closed, and there is an heir to close for, which gets the
// sockets when what only one process may have was let go of. Otherwise it is e.
func (a *attempt) endsWith(cause error, e succession.IncumbentEvent) succession.IncumbentEvent {
	d := a.d
	if !errors.Is(cause, net.ErrClosed) || d.closeBegun.Err() == nil || a.kind != kindCaller || !a.offerTaken || !a.heir {
		return e
	}
	if err := d.Sections.HoldExclusive(context.Background(), nil); err != nil {
		d.log.Error("the successor does not get the sockets: something that only one process may have is not let go of; "+
			"start the program anew when this process has ended", "successor", a.pidNow(), "error", err)
		return e
	}
	return succession.CloseForHeir
}
