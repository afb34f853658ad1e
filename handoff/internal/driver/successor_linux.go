package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/state"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// This is the successor's driver: see incumbent_linux.go. Events come from the goroutine that reads what the predecessor says
// (watch before Ready, attend after it), and from those that call Ready, Fail and Close.

// input is an event of the successor's table, with what its actions need.
type input struct {
	event succession.SuccessorEvent
	cause error      // why, if it is bad news
	held  error      // of Unfit: something that only one process may have is not let go of
	frame link.Frame // of the predecessor
}

// decide has the table decide, and carries out what it says. The report of an action is decided next. p is nil for a generation
// without a predecessor. It returns the last event, with why it is bad news.
func (d *Driver) decide(p *predecessor, in input) input {
	in, _ = d.decideIf(p, in, func() bool { return true })
	return in
}

// decideIf is decide if may, which is called under the lock, says so.
func (d *Driver) decideIf(p *predecessor, in input, may func() bool) (last input, did bool) {
	if in.event == succession.Unfit || in.event == succession.Proved {
		d.rows.Lock()
		defer d.rows.Unlock()
	}
	opening := false
	for {
		if opening {
			d.rows.Lock() // until this row is done: a program that sees the new phase may call Fail at once
			defer d.rows.Unlock()
		}
		d.mu.Lock()
		if !did && !may() {
			d.mu.Unlock()
			return in, false
		}
		did = true
		if opening { // under the lock: a socket is either among these, or opens when it is added
			in = d.openedLocked()
		}
		opened := in.event == succession.Opened || in.event == succession.OpenedOnTrial
		decided := d.asSuccessorLocked(in.event)
		d.mu.Unlock()
		if opened && opening {
			p.ownsNow()
		}
		d.report(decided)
		again := false
		opening = false
		for _, action := range decided.do {
			if action == succession.Open {
				opening, again = true, true
			} else if next, ok := d.act(p, action, in); ok {
				in, again = next, true
			}
		}
		if !again {
			return in, true
		}
	}
}

// openedLocked opens all sockets, and reports how that went.
func (d *Driver) openedLocked() input {
	if err := d.openLocked(); err != nil {
		return input{event: succession.OpenFailed, cause: err}
	}
	if d.predecessor != nil && (d.cfg.Probation > 0 || d.cfg.Check != nil) {
		return input{event: succession.OpenedOnTrial}
	}
	return input{event: succession.Opened}
}

// act carries out one action of the successor. Some report an event.
func (d *Driver) act(p *predecessor, action succession.Action, in input) (report input, reports bool) {
	switch action {
	case succession.SendReceipts:
		return p.awaitCommit(), true
	case succession.ReadToken:
		taken, err := p.token.Take()
		if !taken {
			if err == nil {
				err = fmt.Errorf("%w: the incumbent took them back, this process was too late", ErrNotOwner)
			}
			return input{event: succession.ReadGone, cause: err}, true
		}
		// At once, before code of the program, such as its Logger, can hang: from here on this process is the
		// one that a rescue must find. An error comes up again when the rendezvous is opened.
		_ = d.keeper.Vouch()
		return input{event: succession.ReadTaken}, true
	case succession.SendOwned:
		if err := p.link.Send(&wire.Owned{}); err != nil {
			d.log.Warn("the predecessor was not told that this generation owns", "error", err)
		}
		d.Sockets.ListenAgain()
		p.dropClosed()
	case succession.BeginServing:
		d.beginServing(p)
	case succession.SendConfirm:
		d.tellSupervisor(true) // before
		m := &wire.Confirm{}
		if p.in != nil {
			m = p.in.Confirmation()
		}
		p.say(m)
		p.confirmedNow()
	case succession.Announce:
		d.writePIDFiles()
	case succession.Settle:
		d.settle() // first: from then on there may be a successor
		if p != nil {
			p.released.happen()
		}
	case succession.SendPong:
		p.say(&wire.Pong{})
	case succession.SendRelease:
		p.say(&wire.Release{})
	case succession.SendGoodbye:
		p.say(&wire.Goodbye{Reason: in.cause.Error()})
	case succession.SendFailed:
		p.fails(timeline.Failed, in.cause, false)
		p.say(&wire.Failed{Reason: in.cause.Error()})
	case succession.PutBack:
		p.fails(timeline.RolledBack, in.cause, true)
		_ = p.token.Put()
		p.say(&wire.Failed{Reason: in.cause.Error(), Returned: true})
	case succession.HandBack:
		if !p.handBackSockets(in) {
			return input{event: succession.Cut, cause: in.cause}, true // the predecessor waits for the end of the link
		}
	case succession.DepartBack:
		p.returnConns(in.frame.Msg.(*wire.Confirm)) // it returns when the link has ended
		return input{event: succession.Cut, cause: in.cause}, true
	case succession.ReceiveConns:
		if _, err := p.in.Receive(in.frame.Msg.(*wire.Conns), in.frame); err != nil {
			d.log.Debug("the predecessor got no answer", "error", err)
			return input{event: succession.Cut, cause: err}, true
		}
	case succession.StartUpgrade:
		d.askForUpgrade()
	case succession.HangUp:
		if p != nil {
			p.hangUp()
		}
	}
	return input{}, false
}

// say sends a frame to the predecessor. What it means if that fails comes out when it is read from.
func (p *predecessor) say(m wire.Message) {
	if err := p.link.Tell(m); err != nil {
		p.d.log.Warn("the predecessor was not told", "frame", m.Type(), "error", err)
	}
}

// await waits for what the predecessor says next, or for its end. The caller closes the frame's descriptors. It returns false
// if ctx ends first.
func (p *predecessor) await(ctx context.Context) (input, bool) {
	f, err := p.link.Recv(ctx, 0)
	switch {
	case err == nil:
		return p.input(f), true
	case ctx.Err() != nil && !link.Over(err) && !errors.Is(err, link.ErrProtocol):
		return input{cause: err}, false
	default:
		return p.ended(err), true
	}
}

// ended makes an event of the end of the link.
func (p *predecessor) ended(err error) input {
	if link.Over(err) && (p.link.Peer.Dead() || p.heir && p.link.Peer.Await(context.Background(), p.link.Step)) { // its descriptors go before its pidfd tells
		return input{event: succession.PredecessorDied, cause: err}
	}
	return input{event: succession.Cut, cause: err}
}

// input makes an event of a frame.
func (p *predecessor) input(f link.Frame) input {
	in := input{event: succession.Unexpected, frame: f, cause: p.link.Unexpected(f.Msg)}
	switch f.Msg.(type) {
	case *wire.Commit:
		in.event = succession.Commit
	case *wire.Abort:
		in.event = succession.Aborted
	case *wire.Goodbye:
		in.event = succession.PredecessorLeaves
	case *wire.Ping:
		in.event = succession.Ping
	case *wire.Released:
		in.event = succession.ReleasedSaid
	case *wire.Conns:
		if p.in != nil {
			in.event = succession.Conns
		}
	case *wire.Confirm:
		in.event = succession.Confirmation
	case *wire.Taken:
		in.event = succession.ReturnTaken
	case *wire.Upgrade:
		in.event = succession.UpgradeAsked
	case *wire.Bye:
		in.event = succession.Bye
	}
	return in
}

// own makes this generation the owner: at once if it is the first, otherwise when its predecessor permits it.
func (d *Driver) own(ctx context.Context) error {
	p := d.predecessor
	none := func(*state.Section) bool { return false }
	has := none
	if p != nil {
		has = p.mayHave
	}
	if err := d.Sections.Fresh(ctx, has); err != nil { // while the predecessor serves, and is watched
		d.decide(p, input{event: succession.GiveUp, cause: err})
		return err
	}
	if p != nil {
		p.unwatch(link.ErrDetached)
		<-p.watched
		if p.whyOver != nil {
			return p.whyOver
		}
		if err := d.arm(); err != nil {
			d.decide(p, input{event: succession.GiveUp, cause: err})
			return err
		}
		if err := p.decideQueued(); err != nil {
			return err
		}
		if p.left {
			if err := d.Sections.Fresh(ctx, none); err != nil {
				d.decide(p, input{event: succession.GiveUp, cause: err})
				return err
			}
		}
		p.ready = ctx
		if d.cfg.DryRun != "" {
			return p.endDryRun()
		}
	}
	if err := d.prepareName(); err != nil {
		d.decide(p, input{event: succession.GiveUp, cause: err})
		return err
	}
	d.fillSpares() // before clients come; after the receipts it would be in the way of COMMIT, while nobody accepts
	if p != nil {
		p.rec.stageEnds(timeline.StageWarmup)
		p.preparedNow()
		p.report(false) // so that the incumbent knows before it commits that this side keeps records too
	}
	in := d.decide(p, input{event: succession.Ready})
	d.mu.Lock()
	now := d.toPredecessor
	d.mu.Unlock()
	if now == succession.Gone {
		return in.cause
	}
	if p != nil {
		d.task(func() { p.attend() })
	}
	if now == succession.Trial || now == succession.TrialAlone {
		d.task(func() { p.prove() })
	}
	return nil
}

// beginServing does what follows from owning. What fails is only reported.
func (d *Driver) beginServing(p *predecessor) {
	if p == nil {
		d.keeper.Keep(false)
	}
	d.started.happen()
	if p == nil {
		d.rescued()
	}
	d.log.Info("serving", "phase", d.Phase())
	if p == nil || d.proxies { // a proxy ends at once. A caller meanwhile finds the path gone
		return
	}
	if err := p.replaceOutput(); err != nil {
		d.log.Warn("standard output still goes through the predecessor", "error", err)
	}
	d.stdio.Watch(d.ctx, d.log, d.task)
	d.held.CloseUnclaimed()
	if err := d.keeper.Open(); err != nil {
		d.log.Error("the rendezvous is out of order; only a signal or Upgrade starts a successor", "path", d.cfg.Path, "error", err)
	}
	d.keeper.Keep(false)
}

// replaceOutput makes the incumbent's own standard output and error this process's.
func (p *predecessor) replaceOutput() error {
	d := p.d
	return d.stdio.Replace(d.ctx, p.gone.c, d.task)
}

// hear decides what the predecessor says, or its end, unless the link has been ended on this side. While HandBack is under way that
// waits for it, which takes less than StepTimeout: once PONG is said nothing goes back.
func (p *predecessor) hear(in input) {
	d := p.d
	for waits := true; waits; {
		var news <-chan struct{}
		d.decideIf(p, in, func() bool {
			waits, news = d.handingBack, d.news // under the lock of the decision, so that none begins in between
			return !waits && !p.gone.happened()
		})
		if waits {
			<-news
		}
	}
}

// attend hears the predecessor until its link ends, and beyond: one that lives may yet end this generation, and take the
// sockets back.
func (p *predecessor) attend() {
	d := p.d
	defer p.close()
	for !p.gone.happened() {
		in, ok := p.await(d.ctx)
		if !ok {
			return
		}
		if in.frame.Msg == nil {
			d.log.Debug("the predecessor is gone", "predecessor", p.link.Peer.PID, "error", in.cause)
		}
		p.hear(in)
		in.frame.Raw.Close()
	}
	severed := func() bool {
		return d.toPredecessor == succession.Severed || d.toPredecessor == succession.TrialSevered
	}
	d.mu.Lock()
	wait := severed()
	d.mu.Unlock()
	if !wait {
		return
	}
	select {
	case <-p.link.Peer.Done():
		d.decideIf(p, input{event: succession.PredecessorDied, cause: link.ErrPeerDied}, severed)
	case <-d.ctx.Done():
	}
}
