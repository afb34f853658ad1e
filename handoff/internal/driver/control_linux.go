package driver

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/control"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/rendezvous"
	"github.com/segue-go/segue/handoff/internal/succession"
)

// attendControl has the owner, and nobody else, answer at the control socket. It waits for phases in a goroutine of its own, so that
// no handoff waits for it.
func (d *Driver) attendControl() {
	if d.cfg.Path == "" || d.proxies {
		return
	}
	defer d.control.Close()
	said := false
	for {
		d.mu.Lock()
		phase, news := d.phase, d.news
		d.mu.Unlock()
		switch {
		case phase.Owns() && !d.control.InPlace():
			ctx, cancel := context.WithTimeout(d.ctx, d.cfg.StepTimeout)
			err := d.withLock(ctx, func() error {
				if !d.Phase().Owns() {
					return nil // another generation owns, and may have bound it by now
				}
				return d.control.Open()
			})
			cancel()
			if err != nil && !said && d.ctx.Err() == nil {
				said = true // once: it is tried again at each phase
				d.log.Warn("the control socket is not open; the command segue cannot ask this process", "error", err)
			}
		case phase == succession.PhaseDraining, phase == succession.PhaseStopped:
			d.control.Close()
		}
		select {
		case <-news:
		case <-d.ctx.Done():
			return
		}
	}
}

// newControl returns what answers there.
func (d *Driver) newControl() *control.Server {
	return &control.Server{
		Path: d.cfg.Path + control.Suffix, Log: d.log, Context: d.ctx, Task: d.task, Answer: d.answer,
		Authorize: func(p *peer.Peer, conn *net.UnixConn) error { return rendezvous.Authorize(d.rule(), p, conn) },
	}
}

// endControl closes the control socket for good, and removes its path if nobody else listens there.
func (d *Driver) endControl(owner bool) {
	if d.cfg.Path == "" {
		return
	}
	if d.control.Close(); !owner && !d.control.Left() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.cfg.StepTimeout)
	defer cancel()
	_ = d.withLock(ctx, func() error { // an error leaves a stale path, which the next owner replaces
		d.control.Close() // what was opened meanwhile
		d.control.Sweep()
		d.keeper.Path.Leave()
		return nil
	})
}

// requests are those that this process knows.
var requests = []string{control.DoStatus, control.DoHistory, control.DoWatch, control.DoUpgrade, control.DoRetire, control.DoStop}

// answer carries out what somebody asks at the control socket.
func (d *Driver) answer(ctx context.Context, p *peer.Peer, r control.Request, say func(control.Answer) error) {
	refuse := func(code, reason string) {
		_ = say(control.Answer{Event: control.Refused, Code: code, Reason: reason})
	}
	phase := d.Phase()
	owns := phase.Owns() || phase == succession.PhaseSwitching || phase == succession.PhaseGuarding
	switch {
	case !slices.Contains(requests, r.Do):
		refuse(control.CodeUnknown, "this process does not know the request "+quote(r.Do)+"; it knows "+strings.Join(requests, ", "))
	case !owns:
		refuse(control.CodeElsewhere, "this generation is "+phase.String()+" and does not own the sockets")
	case r.Do == control.DoStatus:
		_ = control.SayStatus(say, d.controlStatus(), d.Chain())
	case r.Do == control.DoUpgrade:
		d.upgradeByControl(ctx, p, say)
	case r.Do == control.DoHistory:
		for _, h := range d.History() {
			if say(control.Answer{Event: control.Handoff, Handoff: &h}) != nil {
				return
			}
		}
		_ = say(control.Answer{Event: control.Done, Code: control.CodeOK})
	case r.Do == control.DoRetire:
		d.retireByControl(p, r.Generation, say)
	case r.Do == control.DoWatch:
		d.watchByControl(ctx, say)
	default:
		d.log.Info("asked to stop", "by", p.String())
		_ = say(control.Answer{Event: control.Begun, PID: os.Getpid(), Generation: d.Status().Number, Phase: phase.String()})
		// As a supervisor does it: the program knows what is to be done first.
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			_ = say(control.Answer{Event: control.Done, Code: control.CodeFailed, Reason: err.Error()})
			return
		}
		_ = say(control.Answer{Event: control.Done, Code: control.CodeOK})
	}
}

// quote is for a word that somebody else has chosen.
func quote(s string) string {
	const most = 40
	if len(s) > most {
		s = s[:most]
	}
	return "\"" + s + "\""
}

func (d *Driver) controlStatus() control.Status {
	s := d.Status()
	d.mu.Lock()
	since := d.journal.last()
	d.mu.Unlock()
	c := control.Status{
		Generation: s.Number, PID: os.Getpid(), Phase: s.Phase.String(), Since: since, Predecessor: s.Predecessor, Successor: s.Successor,
		Arrived: s.Arrived, Moved: s.Moved,
	}
	if s.LastError != nil {
		c.LastError = s.LastError.Error()
	}
	for _, o := range s.Sockets {
		_, inherited := o.Place()
		c.Sockets = append(c.Sockets, control.Socket{Name: o.Name(), Kind: o.Kind(), Network: o.Network(), Address: o.Address(), Inherited: inherited})
	}
	return c
}

// upgradeByControl starts an upgrade, says what comes of it, and goes on with it if nobody hears that any more.
func (d *Driver) upgradeByControl(ctx context.Context, p *peer.Peer, say func(control.Answer) error) {
	begun := time.Now()
	d.mu.Lock()
	seen := d.journal.count
	number, phase := d.number, d.phase
	d.mu.Unlock()
	answer := func(a control.Answer) bool {
		a.Generation, a.PID, a.Millis = number, os.Getpid(), time.Since(begun).Milliseconds()
		return say(a) == nil
	}
	if phase == succession.PhaseSwitching || phase == succession.PhaseGuarding { // Upgrade would say that it does not own
		_ = say(control.Answer{Event: control.Refused, Code: control.CodeBusy, Reason: (&BusyError{PID: d.Status().Successor, Phase: phase.String()}).Error()})
		return
	}
	heard := answer(control.Answer{Event: control.Begun, Phase: phase.String()})
	d.log.Info("upgrade begins", "by", p.String())
	result := make(chan error, 1)
	d.task(func() { result <- d.Upgrade(d.ctx) })
	tick := time.NewTicker(control.Heartbeat)
	defer tick.Stop()
	for {
		d.mu.Lock()
		phases, news := d.journal.since(&seen), d.news
		_, successor := d.peersLocked()
		d.mu.Unlock()
		for _, to := range phases {
			heard = heard && answer(control.Answer{Event: control.Phase, Phase: to.String(), Successor: successor})
		}
		var err error
		select {
		case <-news:
			continue
		case <-tick.C:
			heard = heard && answer(control.Answer{Event: control.Alive, Successor: successor})
			continue
		case err = <-result:
		}
		d.mu.Lock()
		phases = d.journal.since(&seen)
		_, successor = d.peersLocked()
		now := d.phase
		d.mu.Unlock()
		for _, to := range phases {
			heard = heard && answer(control.Answer{Event: control.Phase, Phase: to.String(), Successor: successor})
		}
		if heard {
			code, reason := outcomeOf(err)
			answer(control.Answer{Event: control.Done, Code: code, Reason: reason, Phase: now.String(), Successor: successor})
		}
		return
	}
}

// outcomeOf says how an upgrade ended.
func outcomeOf(err error) (code, reason string) {
	if f := (*Failure)(nil); errors.As(err, &f) {
		err = f.Err // the client knows what it has asked for
	}
	var child *ChildError
	switch {
	case err == nil:
		return control.CodeOK, ""
	case errors.As(err, &child):
		return control.CodeFailed, err.Error()
	case errors.Is(err, ErrBusy):
		return control.CodeBusy, err.Error()
	case errors.Is(err, ErrNotOwner):
		return control.CodeElsewhere, err.Error()
	default:
		return control.CodeFailed, err.Error()
	}
}
