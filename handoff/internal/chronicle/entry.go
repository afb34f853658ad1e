// Package chronicle keeps the records of the last handoffs of a chain, and its totals: what one process measures of a handoff is
// a [Half], two of them make a timeline.Handoff, and a [Book] has the last of them. It does no input or output, and reads no
// clock.
//
// A half has one writer, the process whose it is, and a number that grows with each change. So halves may travel in either
// direction, more than once and in any order: the higher number is the truth.
package chronicle

import (
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/timeline"
)

// Clock is a moment, by clocks that two processes may share.
type Clock struct {
	Mono int64  `json:"mono,string"` // CLOCK_MONOTONIC in nanoseconds, as this process sees it
	Wall int64  `json:"wall,string"` // since 1970, in nanoseconds
	NS   uint64 `json:"ns,string"`   // inode of the time namespace; 0: not known
}

// After is how much later c is than other: by CLOCK_MONOTONIC where that is the same for both, otherwise by the wall clock.
func (c Clock) After(other Clock) time.Duration {
	if c.NS == other.NS { // also where nobody knows of time namespaces
		return time.Duration(c.Mono - other.Mono)
	}
	return time.Duration(c.Wall - other.Wall)
}

// Half is what one process knows of a handoff. Offsets are from Clock on; 0 means that it has not happened.
type Half struct {
	Rev       int                `json:"rev"` // grows with each change
	Clock     Clock              `json:"clock"`
	Cause     timeline.Cause     `json:"cause,omitempty"`
	From      timeline.Process   `json:"from"`
	To        timeline.Process   `json:"to"`
	Transport timeline.Transport `json:"transport,omitempty"`
	Spans     []timeline.Span    `json:"spans,omitempty"`

	Paused    time.Duration `json:"paused,omitempty"`    // incumbent: nobody accepts
	Opened    time.Duration `json:"opened,omitempty"`    // successor: its sockets are open. Incumbent: it knows that somebody accepts
	Confirmed time.Duration `json:"confirmed,omitempty"` // the successor is well
	Ended     time.Duration `json:"ended,omitempty"`     // the result is known
	PeerGone  time.Duration `json:"peerGone,omitempty"`  // the other side has ended

	Sockets  []timeline.Sockets `json:"sockets,omitempty"`
	Refused  []timeline.Refusal `json:"refused,omitempty"`
	Sections []timeline.Section `json:"sections,omitempty"`
	Conns    []timeline.Conns   `json:"connections,omitempty"`

	Result timeline.Result `json:"result"`
	Reason timeline.Reason `json:"reason,omitempty"`
	Error  string          `json:"error,omitempty"`
	Exit   *timeline.Exit  `json:"exit,omitempty"`
	Output string          `json:"output,omitempty"`
}

// Begin begins a stage at an offset, if it has not begun.
func (h *Half) Begin(s timeline.Stage, at time.Duration) {
	if h.span(s) == nil {
		h.Spans = append(h.Spans, timeline.Span{Stage: s, Start: at, Running: true})
	}
}

// End ends a stage that runs, and returns it.
func (h *Half) End(s timeline.Stage, at time.Duration) (timeline.Span, bool) {
	p := h.span(s)
	if p == nil || !p.Running {
		return timeline.Span{}, false
	}
	p.Duration, p.Running = max(at-p.Start, 0), false
	return *p, true
}

// EndAll ends all stages that run, and returns them.
func (h *Half) EndAll(at time.Duration) (all []timeline.Span) {
	for _, p := range h.Spans {
		if span, ok := h.End(p.Stage, at); ok {
			all = append(all, span)
		}
	}
	return all
}

func (h *Half) span(s timeline.Stage) *timeline.Span {
	for i := range h.Spans {
		if h.Spans[i].Stage == s {
			return &h.Spans[i]
		}
	}
	return nil
}

// Entry is one handoff.
type Entry struct {
	ID        string   `json:"id"`
	Incumbent *Half    `json:"incumbent,omitempty"`
	Successor *Half    `json:"successor,omitempty"`
	Counted   *Counted `json:"counted,omitempty"` // what of it is in the totals; nil: nothing is to be
	mine      timeline.Role
	stamp     uint64 // of its last change here
}

func (e *Entry) half(r timeline.Role) **Half {
	if r == timeline.Incumbent {
		return &e.Incumbent
	}
	return &e.Successor
}

// merge takes what other knows better, but for this process's own half. It reports whether that was anything.
func (e *Entry) merge(other Entry) (changed bool) {
	for _, r := range []timeline.Role{timeline.Incumbent, timeline.Successor} {
		mine, theirs := e.half(r), *other.half(r)
		if r == e.mine || theirs == nil || *mine != nil && (*mine).Rev >= theirs.Rev {
			continue
		}
		*mine, changed = theirs, true
	}
	return changed
}

// rank is which of two results is the later one.
func rank(r timeline.Result) int {
	switch r {
	case timeline.Running, "":
		return 0
	case timeline.Done:
		return 1
	default:
		return 2
	}
}

// Join makes the record of e, as it is at now. It shares nothing with e.
func Join(e Entry, now Clock) timeline.Handoff {
	h := timeline.Handoff{Version: timeline.Version, ID: e.ID, Result: timeline.Running, Role: e.mine}
	i, s := e.Incumbent, e.Successor
	first := i
	if first == nil {
		first = s
	}
	if first == nil {
		return h
	}
	if i != nil {
		h.Halves = append(h.Halves, timeline.Incumbent)
	}
	if s != nil {
		h.Halves = append(h.Halves, timeline.Successor)
	}
	h.Started = time.Unix(0, first.Clock.Wall)
	h.Cause, h.From, h.To, h.Transport = first.Cause, first.From, first.To, first.Transport
	if i != nil && s != nil { // the incumbent has the numbers as it sees them; what it does not know the successor may
		fill(&h.From, s.From)
		fill(&h.To, s.To)
		if h.Transport == "" {
			h.Transport = s.Transport
		}
	}
	h.Sockets, h.Refused, h.Conns = slices.Clone(first.Sockets), slices.Clone(first.Refused), slices.Clone(first.Conns)
	h.Sections = sections(i, s)
	last := first
	if s != nil && rank(s.Result) > rank(first.Result) {
		last = s
	}
	if rank(last.Result) > 0 {
		h.Result, h.Reason, h.Error = last.Result, last.Reason, last.Error
	}
	if i != nil && s != nil && h.Reason == timeline.ReasonGaveUp { // so it has told this side, which finds no word in the text
		if r := s.Reason; r != timeline.ReasonNone && r != timeline.ReasonOther {
			h.Reason = r
		}
	}
	if first.Exit != nil {
		exit := *first.Exit
		h.Exit = &exit
	}
	h.Output = first.Output
	h.Duration = max(now.After(first.Clock), 0)
	if last.Ended > 0 {
		h.Duration = max(last.Ended+last.Clock.After(first.Clock), 0)
	}
	h.Stages = stages(i, s, first, now, h)
	return h
}

func fill(p *timeline.Process, other timeline.Process) {
	if p.Generation == 0 {
		p.Generation = other.Generation
	}
	if p.PID == 0 {
		p.PID = other.PID
	}
	if p.Program == "" {
		p.Program = other.Program
	}
}

// sections joins what the incumbent saved and the successor restored.
func sections(i, s *Half) (all []timeline.Section) {
	if i != nil {
		all = slices.Clone(i.Sections)
	}
	if s == nil {
		return all
	}
	for _, r := range s.Sections {
		at := slices.IndexFunc(all, func(o timeline.Section) bool { return o.Name == r.Name && o.Ahead == r.Ahead })
		if at < 0 {
			all = append(all, r)
			continue
		}
		all[at].Restore = r.Restore
		if all[at].Error == "" {
			all[at].Error = r.Error
		}
	}
	return all
}

// stages are those of both halves, by the clock of first. The successor knows best of its warm-up and probation.
func stages(i, s, first *Half, now Clock, h timeline.Handoff) []timeline.Span {
	found := make(map[timeline.Stage]timeline.Span)
	add := func(half, other *Half, better func(timeline.Stage) bool) {
		if half == nil {
			return
		}
		shift := half.Clock.After(first.Clock)
		for _, p := range half.Spans {
			if _, there := found[p.Stage]; there && !better(p.Stage) {
				continue
			}
			if p.Running { // until now, or until whoever measures it has ended
				until := now.After(half.Clock)
				switch {
				case other != nil && other.PeerGone > 0:
					until, p.Running = other.PeerGone+other.Clock.After(half.Clock), false
				case rank(h.Result) == 2:
					until, p.Running = h.Duration-shift, false
				}
				p.Duration = max(until-p.Start, 0)
			}
			p.Start = max(p.Start+shift, 0)
			found[p.Stage] = p
		}
	}
	add(i, s, func(timeline.Stage) bool { return true })
	add(s, i, func(st timeline.Stage) bool { return st == timeline.StageWarmup || st == timeline.StageProbation })
	if i != nil && i.Paused > 0 {
		gap := timeline.Span{Stage: timeline.StageGap, Start: i.Paused}
		switch {
		case s != nil && s.Opened > 0:
			gap.Duration = s.Opened + s.Clock.After(i.Clock) - i.Paused
		case i.Opened > 0:
			gap.Duration = i.Opened - i.Paused
		default:
			gap.Duration, gap.Running = now.After(i.Clock)-i.Paused, true
		}
		gap.Duration = max(gap.Duration, 0)
		found[gap.Stage] = gap
	}
	all := []timeline.Span{}
	for _, st := range timeline.Stages() {
		if p, ok := found[st]; ok {
			all = append(all, p)
		}
	}
	follow(all)
	return all
}

// follow ends each stage no later than the next one begins, as timeline.Stage says: where each process has measured one of two,
// they overlap by the time that a message takes.
func follow(all []timeline.Span) {
	for i := 1; i < len(all); i++ {
		p, next := &all[i-1], all[i]
		switch {
		case p.Stage == timeline.StagePrepare && next.Stage == timeline.StageState: // it is within
		case p.Stage == timeline.StageConnections, p.Stage == timeline.StageGuard:
			return
		case !p.Running:
			p.Duration = max(min(p.Duration, next.Start-p.Start), 0)
		}
	}
}
