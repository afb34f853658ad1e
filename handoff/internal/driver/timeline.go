package driver

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/segue-go/segue/handoff/internal/chronicle"
	"github.com/segue-go/segue/handoff/internal/migrate"
	"github.com/segue-go/segue/handoff/internal/state"
	"github.com/segue-go/segue/handoff/timeline"
)

// annals are what a generation knows of the handoffs of its chain. Its lock is taken by who holds any other, and nothing is called
// under it.
type annals struct {
	mu     sync.Mutex
	book   *chronicle.Book
	last   *record               // the last handoff of this process
	away   map[string]*record    // of callers that were turned away, by reason and user
	others []timeline.Generation // older ones that drain, as they have last said
	born   time.Time
}

// record is this process's half of one handoff. Its methods may be called from any goroutine, and on nil.
type record struct {
	d     *Driver
	id    string
	role  timeline.Role
	began time.Time       // of the half
	half  *chronicle.Half // guarded by annals.mu
}

// newID returns the ID of a handoff.
func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// begin begins a record; at is when the handoff did.
func (d *Driver) begin(id string, r timeline.Role, c timeline.Cause, at time.Time) *record {
	rec := d.newRecord(id, r, c, at)
	if rec != nil {
		d.annals.mu.Lock()
		defer d.annals.mu.Unlock()
		d.annals.last = rec
	}
	return rec
}

// newRecord is begin of what is not the handoff under way.
func (d *Driver) newRecord(id string, r timeline.Role, c timeline.Cause, at time.Time) *record {
	if d.proxies {
		return nil
	}
	n := &d.annals
	rec := &record{d: d, id: id, role: r, began: at}
	me := timeline.Process{Generation: int(d.numberNow.Load()), PID: os.Getpid(), Program: d.programName()}
	clock := now()
	back := time.Since(at)
	clock.Mono, clock.Wall = clock.Mono-int64(back), clock.Wall-int64(back)
	n.mu.Lock()
	defer n.mu.Unlock()
	rec.half = n.book.Own(id, r)
	rec.half.Clock, rec.half.Cause = clock, c
	if r == timeline.Incumbent {
		rec.half.From = me
	} else {
		rec.half.To = me
	}
	return rec
}

// change changes the half; at is the time since the handoff began, and more than 0.
func (r *record) change(f func(h *chronicle.Half, at time.Duration)) {
	if r == nil {
		return
	}
	n := &r.d.annals
	n.mu.Lock()
	defer n.mu.Unlock()
	f(r.half, max(time.Since(r.began), 1))
	n.book.Changed(r.id)
}

// event is what events of this handoff have.
func (r *record) event() timeline.Event {
	e := r.d.event()
	e.Role, e.Handoff = r.role, r.id
	n := &r.d.annals
	n.mu.Lock()
	defer n.mu.Unlock()
	e.Peer = r.half.To.PID
	if r.role == timeline.Successor {
		e.Peer = r.half.From.PID
	}
	return e
}

// stage begins a stage.
func (r *record) stage(s timeline.Stage) {
	r.change(func(h *chronicle.Half, at time.Duration) { h.Begin(s, at) })
}

// stageEnds ends one, if it runs.
func (r *record) stageEnds(s timeline.Stage) {
	if r == nil {
		return
	}
	var span timeline.Span
	var ended bool
	r.change(func(h *chronicle.Half, at time.Duration) { span, ended = h.End(s, at) })
	if f := r.d.trace.Stage; f != nil && ended {
		f(timeline.StageEnded{Event: r.event(), Span: span})
	}
}

// paused notes that nobody accepts any more.
func (r *record) paused() {
	if r == nil {
		return
	}
	r.change(func(h *chronicle.Half, at time.Duration) { h.Paused = at })
	if f := r.d.trace.Gap; f != nil {
		f(timeline.GapChanged{Event: r.event()})
	}
}

// opened notes that somebody accepts (again), as far as is known here.
func (r *record) opened(here bool) {
	if r == nil {
		return
	}
	var gap time.Duration
	r.change(func(h *chronicle.Half, at time.Duration) {
		if h.Opened == 0 && (h.Paused > 0 || r.role == timeline.Successor) {
			h.Opened = at
			if h.Paused > 0 {
				gap = at - h.Paused
			}
		}
	})
	if f := r.d.trace.Gap; f != nil && here {
		f(timeline.GapChanged{Event: r.event(), Open: true, Duration: gap})
	}
}

// reached tells of a milestone.
func (r *record) reached(m timeline.Milestone) {
	if r == nil {
		return
	}
	if m == timeline.Confirmed {
		r.change(func(h *chronicle.Half, at time.Duration) { h.Confirmed = at })
	}
	if f := r.d.trace.Milestone; f != nil {
		f(timeline.Reached{Event: r.event(), Milestone: m})
	}
}

// result notes what became of the handoff: the first time, or again of one that was done.
func (r *record) result(result timeline.Result, err error) {
	if r == nil {
		return
	}
	changed := false
	var ended []timeline.Span
	r.change(func(h *chronicle.Half, at time.Duration) {
		if h.Result != timeline.Running && h.Result != timeline.Done || h.Result == result {
			return
		}
		changed = true
		h.Result, h.Ended = result, at
		if err != nil {
			h.Reason, h.Error = reasonOfResult(r.role, result, err), chronicle.Cut(err.Error(), timeline.MaxText)
		}
		switch result {
		case timeline.Failed, timeline.Aborted, timeline.RolledBack, timeline.Revived, timeline.Stale: // nothing goes on
			ended = h.EndAll(at)
		}
	})
	if f := r.d.trace.Stage; f != nil {
		for _, span := range ended {
			f(timeline.StageEnded{Event: r.event(), Span: span})
		}
	}
	if f := r.d.trace.Undone; f != nil && changed && (result == timeline.RolledBack || result == timeline.Revived || result == timeline.Stale) {
		n := &r.d.annals
		n.mu.Lock()
		h, _ := n.book.Record(r.id, now()) // the successor may have said more
		n.mu.Unlock()
		f(timeline.Undone{Event: r.event(), Result: result, Reason: h.Reason, Err: err})
	}
}

// tell tells the Trace what became of the handoff, if that is known.
func (r *record) tell(err error) {
	if r == nil || r.d.trace.Ended == nil {
		return
	}
	n := &r.d.annals
	n.mu.Lock()
	h, ok := n.book.Record(r.id, now())
	n.mu.Unlock()
	if ok && h.Result != timeline.Running {
		r.d.trace.Ended(timeline.HandoffEnded{Event: r.event(), Record: h, Err: err})
	}
}

// noteSection notes what became of a section of state.
func (d *Driver) noteSection(m state.Moved) {
	r := d.lastRecord()
	r.change(func(h *chronicle.Half, _ time.Duration) {
		s := timeline.Section{Name: m.Section, Ahead: m.Ahead, Bytes: m.Bytes}
		if m.Restored {
			s.Restore = m.Took
		} else {
			s.Save = m.Took
		}
		if m.Err != nil {
			s.Error = chronicle.Cut(m.Err.Error(), timeline.MaxName)
		}
		if len(h.Sections) < timeline.MaxList {
			h.Sections = append(h.Sections, s)
		}
	})
	if f := d.trace.Section; f != nil && r != nil {
		f(timeline.SectionMoved{
			Event: r.event(), Section: m.Section, Restored: m.Restored, Ahead: m.Ahead, Bytes: m.Bytes, Duration: m.Took, Err: m.Err,
		})
	}
}

// noteConns notes what became of a batch of connections.
func (d *Driver) noteConns(m migrate.Told) {
	r, kind := d.lastRecord(), timeline.ConnServed
	if m.Bulk {
		r.stageEnds(timeline.StageConnections)
		return
	}
	if m.Given {
		kind = timeline.ConnGiven
	}
	if !m.Received {
		r.change(func(h *chronicle.Half, _ time.Duration) {
			at := slices.IndexFunc(h.Conns, func(c timeline.Conns) bool { return c.Kind == kind })
			if at < 0 {
				at = len(h.Conns)
				h.Conns = append(h.Conns, timeline.Conns{Kind: kind})
			}
			if m.Refused {
				h.Conns[at].Refused += m.Count
			}
			if m.Refused || m.Kept {
				h.Conns[at].Kept += m.Count
			} else {
				h.Conns[at].Moved += m.Count
			}
		})
	}
	if f := d.trace.Conns; f != nil && r != nil && !m.Kept {
		moved := timeline.ConnsMoved{
			Event: r.event(), Kind: kind, Count: m.Count, Transport: timeline.TransportSent, Refused: m.Refused, Received: m.Received,
		}
		if m.Refused {
			moved.Reason = timeline.ReasonRoom
		}
		f(moved)
	}
}

func (d *Driver) lastRecord() *record {
	d.annals.mu.Lock()
	defer d.annals.mu.Unlock()
	return d.annals.last
}

// History returns the records of the last handoffs of the chain.
func (d *Driver) History() []timeline.Handoff {
	d.annals.mu.Lock()
	defer d.annals.mu.Unlock()
	return d.annals.book.History(now())
}

// Counters returns the totals of the chain.
func (d *Driver) Counters() timeline.Counters {
	d.annals.mu.Lock()
	defer d.annals.mu.Unlock()
	return d.annals.book.Totals(now())
}

// Chain returns what the generations do now.
func (d *Driver) Chain() timeline.Chain {
	c := timeline.Chain{Version: timeline.Version, Generations: []timeline.Generation{d.self(true)}}
	d.annals.mu.Lock()
	defer d.annals.mu.Unlock()
	c.Generations = append(c.Generations, d.annals.others...)
	if r := d.annals.last; r != nil {
		if h, ok := d.annals.book.Record(r.id, now()); ok {
			c.Last = &h
		}
	}
	return c
}

// self is what this generation does now.
func (d *Driver) self(sockets bool) timeline.Generation {
	s := d.Status()
	d.mu.Lock()
	since := d.journal.last()
	s2 := d.superseding
	d.mu.Unlock()
	g := timeline.Generation{
		Generation: s.Number, PID: os.Getpid(), Phase: timeline.Phase(s.Phase.String()), Since: since, Started: d.annals.born,
		Predecessor: s.Predecessor, Successor: s.Successor, Updated: time.Now(),
	}
	g.Conns.Active, g.Conns.Idle = d.Conns.Exchange.Count()
	g.Conns.Parked, g.Conns.Untaken = d.Conns.Waiting()
	if s.LastError != nil {
		g.Error = chronicle.Cut(s.LastError.Error(), timeline.MaxText)
	}
	if g.Phase == timeline.PhaseDraining {
		g.Waits = d.waits(s2, g.Conns)
	}
	if sockets {
		for _, o := range s.Sockets {
			_, inherited := o.Place()
			g.Sockets = append(g.Sockets, timeline.Resource{
				Name: o.Name(), Kind: timeline.Kind(o.Kind()), Network: o.Network(), Address: o.Address(), Inherited: inherited,
			})
		}
	}
	return g
}

// waits is on what a generation waits that drains.
func (d *Driver) waits(s *superseding, c timeline.ConnsNow) (all []timeline.Wait) {
	if !d.released.happened() {
		all = append(all, timeline.Wait{For: timeline.WaitGuard})
	}
	if begun, running := s.running(); running {
		w := timeline.Wait{For: timeline.WaitDrain}
		if d.cfg.DrainTimeout > 0 {
			w.Until = begun.Add(d.cfg.DrainTimeout)
		}
		all = append(all, w)
	}
	if n := c.Left(); n > 0 {
		all = append(all, timeline.Wait{For: timeline.WaitConnections, Count: n})
	}
	d.annals.mu.Lock()
	defer d.annals.mu.Unlock()
	if len(d.annals.others) > 0 {
		all = append(all, timeline.Wait{For: timeline.WaitPredecessor})
	}
	return all
}
