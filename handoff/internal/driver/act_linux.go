package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// act carries out one action of the incumbent. Some report an event.
func (a *attempt) act(action succession.Action) (report succession.IncumbentEvent, reports bool) {
	d := a.d
	switch action {
	case succession.Pause:
		if err := a.pauseAndSave(a.ctx); err != nil {
			a.cause = err
			return a.endsWith(err, succession.PauseFailed), true
		}
		return succession.Paused, true
	case succession.SendCommit:
		d.tellAncestor(&wire.Goodbye{Reason: "it has a successor of its own"})
		if err := a.link.Send(&wire.Commit{}); err != nil {
			a.because(succession.Committed, err)
			return succession.LinkEnd, true
		}
		a.rec.reached(timeline.Committed)
	case succession.ReadToken:
		taken, err := a.token.Take()
		if taken {
			return succession.TokenTaken, true
		}
		if err != nil {
			a.cause = also(a.cause, err)
		}
		return succession.TokenGone, true
	case succession.Fence:
		return a.fence(), true
	case succession.Revive:
		a.mayHaveOwned = true
		if err := a.sections.Revive(); err != nil {
			a.cause = also(err, a.cause)
			return succession.Behind, true
		}
		return succession.Revived, true
	case succession.Reopen:
		a.failed, a.done = true, true
		a.undone()
		d.reopen(a)
		a.rec.opened(true)
		d.freeForNext(a) // a program that hears that this generation serves again may upgrade it at once
	case succession.EndStale:
		a.failed = true
		a.rec.result(timeline.Stale, a.cause)
		a.rec.tell(a.cause)
		d.endStale(a.cause)
	case succession.Dismiss:
		a.done = true
		if !a.failed { // otherwise reopen has done it
			a.manifest.RestoreBacklogs(false)
		}
		d.freeForNext(a) // whoever hears ABORT may send another successor at once
		a.dismiss(a.cause)
	case succession.DismissOwner: // after Reopen
		if !a.takeReturning(a.cause) {
			a.dismiss(a.cause)
		}
	case succession.LeaveToHeir:
		a.leaveToHeir()
	case succession.Park:
		if err := a.manifest.Park(); err != nil {
			d.log.Warn("a paused socket stays in the poller, which costs the successor time", "error", err)
		}
	case succession.Supersede:
		a.supersede(a.frame.(*wire.Confirm))
	case succession.SupersedeUnconfirmed:
		a.rec.result(timeline.Orphaned, errors.Join(errWished, a.cause))
		d.log.Warn("the successor was ended before it had confirmed, at somebody's wish; nobody is revived", "error", a.cause)
		d.nowSuperseded()
	case succession.Release:
		a.release()
	case succession.SendReleased:
		a.say(&wire.Released{})
	case succession.SendPing:
		a.say(&wire.Ping{}) // if that fails, the next await says what it means
	case succession.Excuse:
		a.departure.Excuse()
	case succession.KeepDrop:
		a.drops = append(a.drops, a.frame.(*wire.Drop))
	case succession.ApplyDrops:
		for _, m := range a.drops {
			a.manifest.CloseCopy(m.Item)
		}
	case succession.ApplyDrop:
		a.manifest.CloseCopy(a.frame.(*wire.Drop).Item)
	case succession.CountTaken:
		a.departure.Taken(a.frame.(*wire.Taken))
	case succession.EndDeparture:
		a.departure.End(d.ctx.Err() == nil)
	case succession.SendBye:
		a.say(&wire.Bye{})
	case succession.ReportOrphaned:
		a.orphaned()
	case succession.WarnStuck:
		a.departure.WarnStuck()
	case succession.ReportBlocked:
		if a.reportedBlocked { // it can come to this again and again, as often as the successor likes
			d.log.Debug("the successor still cannot be killed", "successor", a.link.Peer.PID, "error", a.cause)
			return 0, false
		}
		a.reportedBlocked = true
		d.log.Error("the successor owns the sockets, does not answer and cannot be killed; this process stays paused until it ends; end it",
			"successor", a.link.Peer.PID, "error", a.cause)
	}
	return 0, false
}

// say sends a frame whose loss the driver finds out by itself.
func (a *attempt) say(m wire.Message) {
	if err := a.link.Tell(m); err != nil {
		a.d.log.Debug("not sent", "frame", m.Type(), "error", err)
	}
}

// fence ends a successor that owns, and sees it dead: only then may this generation serve again.
func (a *attempt) fence() succession.IncumbentEvent {
	p := a.link.Peer
	itself := p.Dead()
	err := kill(p, a.d.cfg.StepTimeout)
	if err != nil {
		a.cause = also(a.cause, err)
		return succession.Unkillable
	}
	dead := fmt.Errorf("successor pid %d had the sockets and is dead%s", p.PID, exitText(p))
	if e, ok := p.Exit(); itself || ok && e.Signal != syscall.SIGKILL { // it was about to, or it had only just
		dead = errDied{dead}
	}
	a.cause = also(a.cause, dead)
	return succession.Fenced
}

// kill ends p, and sees it dead within that time.
func kill(p mortal, within time.Duration) error {
	if p.Dead() {
		return nil
	}
	if err := p.Kill(); err != nil {
		return err
	}
	if !p.Await(context.Background(), within) {
		return fmt.Errorf("it does not die: %w", os.ErrDeadlineExceeded)
	}
	return nil
}

func exitText(p *peer.Peer) string {
	if e, ok := p.Exit(); ok {
		return " (" + e.String() + ")"
	}
	return ""
}
