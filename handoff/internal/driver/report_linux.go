package driver

import (
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/internal/chronicle"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// sendReports sends r, as far as that takes no time. It reports whether all was sent.
func sendReports(l *link.Link, r chronicle.Report) bool {
	for _, body := range chronicle.Encode(r) {
		if !l.Offhand(&wire.Report{Body: body}) {
			return false
		}
	}
	return true
}

// sendPast gives the successor the records and totals of the chain, while its program warms up. From then on this process counts
// nothing: the successor goes on with what it has got.
func (a *attempt) sendPast() {
	if !slices.Contains(a.features, featureTimeline) || a.rec == nil {
		return
	}
	n := &a.d.annals
	at := now()
	n.mu.Lock()
	totals := n.book.Totals(at)
	n.book.Hold()
	entries, seq := n.book.Since(0)
	others := slices.Clone(n.others)
	n.mu.Unlock()
	a.pastSent = true // also if it was not: nobody can say how far it came
	all := len(entries) <= pastRecords
	if !all {
		entries = entries[len(entries)-pastRecords:]
	}
	if sendReports(a.link, chronicle.Report{Entries: entries, Counters: &totals, Generations: others}) && all {
		a.reported = seq // otherwise report sends them
	}
}

// pastRecords is how many records the successor gets before the switch: those that may still change, so that each stage counts once.
// To encode and decode all of them takes milliseconds, for which clients would wait; the older ones follow CONFIRM.
const pastRecords = 3

// resumeCounting is for an attempt after which this generation serves on, or again; owned: the successor may have counted.
func (a *attempt) resumeCounting(owned bool) {
	n := &a.d.annals
	n.mu.Lock()
	defer n.mu.Unlock()
	back := a.totalsBack
	switch {
	case !a.pastSent:
	case !owned:
	case back != nil:
		n.book.Adopt(*back.Counters, back.Entries)
	default:
		n.book.Restart(a.rec.id, now())
	}
	n.book.Resume()
}

// report tells the successor what has changed, and what this generation and those before it do.
func (a *attempt) report() {
	if !slices.Contains(a.features, featureTimeline) {
		return
	}
	n := &a.d.annals
	self := a.d.self(false)
	n.mu.Lock()
	entries, seq := n.book.Since(a.reported)
	generations := append([]timeline.Generation{self}, n.others...)
	n.mu.Unlock()
	for i := range entries {
		entries[i].Counted = nil
	}
	now := said{phase: self.Phase, conns: self.Conns, waits: len(self.Waits), others: len(generations)}
	if len(entries) == 0 && now == a.said && time.Since(a.reportedAt) < 10*reportEvery {
		return
	}
	if sendReports(a.link, chronicle.Report{Entries: entries, Generations: generations}) {
		a.reported, a.said, a.reportedAt = seq, now, time.Now()
	}
}

// said is what a report says that has no number of its own.
type said struct {
	phase         timeline.Phase
	conns         timeline.ConnsNow
	waits, others int
}

// keepReporting reports until the attempt has ended. It is a task.
func (a *attempt) keepReporting(done <-chan struct{}) {
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	for {
		a.reporting.Lock()
		a.report()
		a.reporting.Unlock()
		select {
		case <-t.C:
		case <-done:
			return
		}
	}
}

// heard takes what the successor reports, and that a drain is to end.
func (a *attempt) heard(m wire.Message) bool {
	if retire, ok := m.(*wire.Retire); ok && a.retires.Load() {
		a.d.retire(retire.Generation)
		return true
	}
	report, ok := m.(*wire.Report)
	if !ok || !a.reportsNow.Load() {
		return false
	}
	r, err := chronicle.Decode(report.Body)
	if err != nil {
		a.d.log.Debug("a report is not understood", "error", err)
		return true
	}
	if a.rec == nil {
		return true
	}
	n := &a.d.annals
	n.mu.Lock()
	defer n.mu.Unlock()
	if r.Counters != nil {
		a.totalsBack = &r
	}
	n.book.Put(r.Entries)
	return true
}

// heard takes what the predecessor reports.
func (p *predecessor) heard(m wire.Message) bool {
	report, ok := m.(*wire.Report)
	if !ok || !p.reports.Load() {
		return false
	}
	r, err := chronicle.Decode(report.Body)
	if err != nil {
		p.d.log.Debug("a report is not understood", "error", err)
		return true
	}
	n := &p.d.annals
	n.mu.Lock()
	defer n.mu.Unlock()
	if r.Counters != nil && !p.d.started.happened() {
		n.book.Adopt(*r.Counters, r.Entries)
	} else {
		n.book.Put(r.Entries)
	}
	if r.Generations != nil {
		n.others = r.Generations
	}
	return true
}

// report tells the predecessor this side's half; totals: and with what it is to go on, since it gets the sockets back.
func (p *predecessor) report(totals bool) {
	if !p.reports.Load() {
		return
	}
	n := &p.d.annals
	at := now()
	r := chronicle.Report{}
	n.mu.Lock()
	if totals {
		c := n.book.Totals(at)
		n.book.Hold()
		r.Counters = &c
		r.Entries, _ = n.book.Since(0)
	} else {
		all, _ := n.book.Since(0)
		for _, e := range all {
			if e.ID == p.rec.id {
				e.Counted = nil
				r.Entries = append(r.Entries, e)
			}
		}
	}
	n.mu.Unlock()
	sendReports(p.link, r)
}

// predecessorGone notes that nothing more comes from the predecessor.
func (p *predecessor) predecessorGone() {
	p.rec.change(func(h *chronicle.Half, at time.Duration) { h.PeerGone = at })
	n := &p.d.annals
	n.mu.Lock()
	defer n.mu.Unlock()
	n.others = nil
}
