package driver

import (
	"errors"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/chronicle"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// metSuccessor notes who the successor is.
func (a *attempt) metSuccessor() {
	pid := a.pidNow()
	a.rec.change(func(h *chronicle.Half, _ time.Duration) {
		h.To.PID = pid
		if a.hello != nil {
			h.To.Program = a.hello.Name
		}
	})
	a.rec.stageEnds(timeline.StageHello)
	if f := a.d.trace.Begun; f != nil && a.rec != nil {
		cause := timeline.CauseCaller
		switch a.kind {
		case kindCaller:
		case kindChild:
			cause = timeline.CauseUpgrade
		case kindProxy:
			cause = timeline.CauseForeign
		}
		f(timeline.Begun{Event: a.rec.event(), Cause: cause, Program: a.hello.Name})
	}
}

// noteOffered notes that the successor has all that there is.
func (a *attempt) noteOffered() {
	a.rec.stageEnds(timeline.StageOffer)
	transport := a.transport()
	number := int(a.d.numberNow.Load()) + 1
	a.rec.change(func(h *chronicle.Half, at time.Duration) {
		h.Transport, h.To.Generation = transport, number
		h.Begin(timeline.StageWarmup, at)
		for _, s := range a.manifest.Sockets() {
			if k := timeline.Kind(s.Kind()); isResource(k) {
				addSocket(h, k, transport, 1, 0)
			}
		}
	})
	if f := a.d.trace.Resource; f != nil && a.rec != nil {
		for _, s := range a.manifest.Sockets() {
			if !isResource(timeline.Kind(s.Kind())) {
				continue
			}
			f(timeline.ResourceMoved{
				Event: a.rec.event(), Name: s.Name(), Kind: timeline.Kind(s.Kind()), Network: s.Network(), Address: s.Asked(),
				Fate: timeline.Offered, Transport: transport,
			})
		}
	}
	a.sendPast()
}

// isResource reports whether k is the program's own: an offer has the rendezvous too, and where a child's output goes.
func isResource(k timeline.Kind) bool {
	return k == timeline.Listener || k == timeline.Packet || k == timeline.File
}

// transport is how the successor got its descriptors.
func (a *attempt) transport() timeline.Transport {
	if a.pulled {
		return timeline.TransportTaken
	}
	return timeline.TransportSent
}

func addSocket(h *chronicle.Half, k timeline.Kind, t timeline.Transport, offered, moved int) {
	for i := range h.Sockets {
		if h.Sockets[i].Kind == k {
			h.Sockets[i].Offered += offered
			h.Sockets[i].Moved += moved
			return
		}
	}
	h.Sockets = append(h.Sockets, timeline.Sockets{Kind: k, Transport: t, Offered: offered, Moved: moved})
}

// preparedNow notes what the successor's program has asked for.
func (a *attempt) preparedNow() {
	claimed := a.manifest.Claimed()
	a.rec.change(func(h *chronicle.Half, at time.Duration) {
		for i, s := range a.manifest.Sockets() {
			k := timeline.Kind(s.Kind())
			if !isResource(k) {
				continue
			}
			if claimed[i] {
				addSocket(h, k, h.Transport, 0, 1)
			} else if len(h.Refused) < timeline.MaxList {
				h.Refused = append(h.Refused, timeline.Refusal{Kind: k, Name: s.Name(), Reason: timeline.ReasonUnclaimed})
			}
		}
		if a.sections.Early() {
			h.Begin(timeline.StageState, at)
		}
	})
	a.rec.reached(timeline.Prepared)
	f := a.d.trace.Resource
	if f == nil || a.rec == nil {
		return
	}
	for i, s := range a.manifest.Sockets() {
		if !isResource(timeline.Kind(s.Kind())) {
			continue
		}
		m := timeline.ResourceMoved{
			Event: a.rec.event(), Name: s.Name(), Kind: timeline.Kind(s.Kind()), Network: s.Network(), Address: s.Asked(), Fate: timeline.Claimed,
			Transport: a.transport(),
		}
		if !claimed[i] {
			m.Fate, m.Reason = timeline.Declined, timeline.ReasonUnclaimed
		}
		f(m)
	}
}

// confirmedNow notes that the successor is well, and begins to report to it.
func (a *attempt) confirmedNow() {
	if a.rec == nil {
		return
	}
	a.rec.stageEnds(timeline.StageProbation)
	a.rec.change(func(h *chronicle.Half, at time.Duration) {
		if a.moves {
			h.Begin(timeline.StageConnections, at)
		}
		h.Begin(timeline.StageGuard, at)
		h.Begin(timeline.StageDrain, at)
	})
	a.rec.reached(timeline.Confirmed)
	a.rec.result(timeline.Done, nil)
	n := &a.d.annals
	n.mu.Lock()
	n.book.Hold()
	n.mu.Unlock()
	a.rec.tell(nil)
	if a.reportsNow.Load() {
		stop := make(chan struct{})
		a.stopReports = stop
		a.d.task(func() { a.keepReporting(stop) })
	}
}

// undone notes that this generation serves again, before it does.
func (a *attempt) undone() {
	if a.rec == nil {
		return
	}
	result := early(a.cause)
	switch {
	case a.superseded:
		result = timeline.Revived
	case a.mayHaveOwned:
		result = timeline.RolledBack
	}
	a.rec.result(result, a.cause)
	a.resumeCounting(a.mayHaveOwned)
}

// endReports ends what confirmedNow has begun. Only the driver's goroutine calls both.
func (a *attempt) endReports() {
	if a.stopReports != nil {
		close(a.stopReports)
		a.stopReports = nil
	}
}

// conclude is for when the attempt is over; err is why it has failed.
func (a *attempt) conclude(err error) {
	var child *ChildError
	if errors.As(err, &child) {
		a.rec.change(func(h *chronicle.Half, _ time.Duration) {
			h.Output = chronicle.Cut(child.Output, timeline.MaxText)
			h.Exit = exitOf(child)
		})
		err = child.Err
	} else if p := a.link; p != nil && p.Peer != nil && !p.Peer.Self() {
		if e, ok := p.Peer.Exit(); ok {
			a.rec.change(func(h *chronicle.Half, _ time.Duration) {
				h.Exit = &timeline.Exit{Status: e.Code}
				if e.Signal != 0 {
					h.Exit = &timeline.Exit{Status: -1, Signal: e.Signal.String()}
				}
			})
		}
	}
	if !a.superseded && !a.failed {
		if err != nil {
			a.rec.result(early(err), err)
		}
		a.resumeCounting(false)
	}
	if !a.superseded || a.failed {
		a.rec.tell(err)
	}
}

func exitOf(c *ChildError) *timeline.Exit {
	if c.State == nil {
		return nil
	}
	if status, ok := c.State.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &timeline.Exit{Status: -1, Signal: status.Signal().String()}
	}
	return &timeline.Exit{Status: c.State.ExitCode()}
}

// drained notes that this generation has answered all that it had accepted.
func (d *Driver) drained() {
	d.mu.Lock()
	a := d.attempt
	d.mu.Unlock()
	if a == nil {
		return
	}
	a.rec.stageEnds(timeline.StageConnections)
	a.rec.stageEnds(timeline.StageDrain)
}

// lastReport is sent before BYE.
func (a *attempt) lastReport() {
	if a.reportsNow.Load() {
		a.reporting.Lock()
		defer a.reporting.Unlock()
		a.reportedAt = time.Time{}
		a.report()
	}
}

// welcomed begins the successor's half.
func (p *predecessor) welcomed(m *wire.Welcome, reports bool) {
	d := p.d
	if d.cfg.DryRun != "" { // which is no handoff
		return
	}
	id := m.Handoff
	if id == "" || !reports {
		id = newID()
	}
	p.rec = d.begin(id, timeline.Successor, p.cause, time.Now())
	pid := p.link.Peer.PID
	p.rec.change(func(h *chronicle.Half, _ time.Duration) {
		h.From = timeline.Process{Generation: m.Generation - 1, PID: pid, Program: m.Name}
	})
	p.reports.Store(reports && p.rec != nil)
	if f := d.trace.Begun; f != nil && p.rec != nil {
		f(timeline.Begun{Event: p.rec.event(), Cause: p.cause, Program: m.Name})
	}
}

// arrived notes what was offered.
func (p *predecessor) arrived() {
	transport := timeline.TransportSent
	if p.receiver.Pull {
		transport = timeline.TransportTaken
	}
	p.rec.change(func(h *chronicle.Half, at time.Duration) {
		h.Transport = transport
		h.Begin(timeline.StageWarmup, at)
		for _, o := range p.offer {
			if k := timeline.Kind(o.item.Kind); isResource(k) {
				addSocket(h, k, transport, 1, 0)
			}
		}
	})
	f := p.d.trace.Resource
	if f == nil || p.rec == nil {
		return
	}
	for _, o := range p.offer {
		if !isResource(timeline.Kind(o.item.Kind)) {
			continue
		}
		f(timeline.ResourceMoved{
			Event: p.rec.event(), Name: o.item.Name, Kind: timeline.Kind(o.item.Kind), Network: o.item.Network, Address: o.item.Address,
			Fate: timeline.Arrived, Transport: transport,
		})
	}
}

// preparedNow notes what this program has asked for.
func (p *predecessor) preparedNow() {
	p.rec.reached(timeline.Prepared)
	f := p.d.trace.Resource
	if f == nil || p.rec == nil {
		return
	}
	transport := timeline.TransportSent
	if p.receiver.Pull {
		transport = timeline.TransportTaken
	}
	claimed := p.d.Sockets.Inherited(len(p.offer))
	for i, o := range p.offer {
		k := timeline.Kind(o.item.Kind)
		if !isResource(k) {
			continue
		}
		m := timeline.ResourceMoved{
			Event: p.rec.event(), Name: o.item.Name, Kind: k, Network: o.item.Network, Address: o.item.Address, Fate: timeline.Claimed, Transport: transport,
		}
		if claimed[i] == nil {
			m.Fate, m.Reason = timeline.Declined, timeline.ReasonUnclaimed
		}
		f(m)
	}
}

// ownsNow notes that the sockets of this generation are open.
func (p *predecessor) ownsNow() {
	if p == nil {
		return
	}
	p.rec.opened(true)
	p.rec.reached(timeline.Owned)
	p.rec.stage(timeline.StageProbation)
}

// confirmedNow notes that this generation is well.
func (p *predecessor) confirmedNow() {
	p.rec.stageEnds(timeline.StageProbation)
	p.rec.reached(timeline.Confirmed)
	p.rec.result(timeline.Done, nil)
	p.rec.tell(nil)
	p.report(false)
}

// fails notes that this generation does not go on, and reports that before it says so. With totals, it may have owned.
func (p *predecessor) fails(result timeline.Result, cause error, totals bool) {
	p.rec.result(result, cause)
	p.rec.tell(cause)
	p.report(totals)
}
