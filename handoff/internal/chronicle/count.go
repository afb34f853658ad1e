package chronicle

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/timeline"
)

// Counted is what of a handoff is in the totals.
type Counted struct {
	Results []string                  `json:"results,omitempty"` // role and result
	Stages  []timeline.Stage          `json:"stages,omitempty"`
	Sockets bool                      `json:"sockets,omitempty"`
	Conns   map[timeline.ConnKind]int `json:"connections,omitempty"`
}

func (c *Counted) clone() *Counted {
	return &Counted{Results: slices.Clone(c.Results), Stages: slices.Clone(c.Stages), Sockets: c.Sockets, Conns: maps.Clone(c.Conns)}
}

// Totals returns what was counted so far, having counted what is new, unless another process does.
func (b *Book) Totals(now Clock) timeline.Counters {
	b.count(now)
	c := b.totals
	c.Handoffs, c.Sockets = slices.Clone(c.Handoffs), slices.Clone(c.Sockets)
	c.Conns, c.Undone, c.Stages = slices.Clone(c.Conns), slices.Clone(c.Undone), slices.Clone(c.Stages)
	for i := range c.Stages {
		c.Stages[i].Buckets = slices.Clone(c.Stages[i].Buckets)
	}
	return c
}

func (b *Book) count(now Clock) {
	if b.frozen {
		return
	}
	for _, e := range b.entries {
		if e.Counted != nil {
			b.countEntry(e, now)
		}
	}
}

// countEntry counts what of e is known and not counted yet.
func (b *Book) countEntry(e *Entry, now Clock) {
	h, c, t := Join(*e, now), e.Counted, &b.totals
	if h.Result != timeline.Running {
		// What a successor that gives up takes for the result, the incumbent says, which goes on with the totals.
		says := rank(h.Result) < 2 || e.Incumbent != nil && e.Incumbent.Result == h.Result
		if says && c.once(timeline.Incumbent, h.Result) {
			b.addHandoff(timeline.Incumbent, h.Result, h.Reason)
			if h.Result == timeline.RolledBack || h.Result == timeline.Revived {
				add(&t.Undone, func(u timeline.UndoneCount) bool { return u.Result == h.Result && u.Reason == h.Reason },
					timeline.UndoneCount{Result: h.Result, Reason: h.Reason}, func(u *timeline.UndoneCount) { u.Count++ })
			}
		}
		if s := e.Successor; s != nil && rank(s.Result) > 0 && c.once(timeline.Successor, s.Result) {
			b.addHandoff(timeline.Successor, s.Result, s.Reason)
		}
	}
	if h.Result == timeline.Done {
		for _, half := range []*Half{e.Incumbent, e.Successor} {
			if half != nil && half.Confirmed > 0 {
				if at := time.Unix(0, half.Clock.Wall).Add(half.Confirmed); at.After(t.LastSuccess) {
					t.LastSuccess = at
				}
			}
		}
		if !c.Sockets && len(h.Sockets) > 0 {
			c.Sockets = true
			for _, s := range h.Sockets {
				b.addSockets(s)
			}
		}
	}
	for _, p := range h.Stages {
		if !p.Running && !slices.Contains(c.Stages, p.Stage) {
			c.Stages = append(c.Stages, p.Stage)
			b.addStage(p)
		}
	}
	for _, n := range h.Conns {
		if more := n.Moved - c.Conns[n.Kind]; more > 0 {
			if c.Conns == nil {
				c.Conns = make(map[timeline.ConnKind]int)
			}
			c.Conns[n.Kind] = n.Moved
			add(&t.Conns, func(o timeline.ConnCount) bool { return o.Kind == n.Kind },
				timeline.ConnCount{Kind: n.Kind, Transport: timeline.TransportSent}, func(o *timeline.ConnCount) { o.Count += uint64(more) })
		}
	}
}

// once reports whether that result was not counted yet, and notes that it is now.
func (c *Counted) once(r timeline.Role, of timeline.Result) bool {
	key := result(r, of)
	if slices.Contains(c.Results, key) {
		return false
	}
	c.Results = append(c.Results, key)
	return true
}

// result is how Counted notes one.
func result(r timeline.Role, of timeline.Result) string { return string(r) + " " + string(of) }

// add finds an entry of a list, or adds one, and changes it.
func add[T any](list *[]T, is func(T) bool, fresh T, change func(*T)) {
	at := slices.IndexFunc(*list, is)
	if at < 0 {
		at = len(*list)
		*list = append(*list, fresh)
	}
	change(&(*list)[at])
}

func (b *Book) addHandoff(r timeline.Role, result timeline.Result, reason timeline.Reason) {
	add(&b.totals.Handoffs, func(o timeline.HandoffCount) bool { return o.Role == r && o.Result == result && o.Reason == reason },
		timeline.HandoffCount{Role: r, Result: result, Reason: reason}, func(o *timeline.HandoffCount) { o.Count++ })
	slices.SortFunc(b.totals.Handoffs, func(x, y timeline.HandoffCount) int {
		return cmp.Or(cmp.Compare(x.Role, y.Role), cmp.Compare(x.Result, y.Result), cmp.Compare(x.Reason, y.Reason))
	})
}

func (b *Book) addSockets(s timeline.Sockets) {
	if s.Moved == 0 {
		return
	}
	add(&b.totals.Sockets, func(o timeline.SocketCount) bool { return o.Kind == s.Kind && o.Transport == s.Transport },
		timeline.SocketCount{Kind: s.Kind, Transport: s.Transport}, func(o *timeline.SocketCount) { o.Count += uint64(s.Moved) })
}

func (b *Book) addStage(p timeline.Span) {
	bounds := timeline.Buckets()
	add(&b.totals.Stages, func(o timeline.StageCount) bool { return o.Stage == p.Stage },
		timeline.StageCount{Stage: p.Stage, Buckets: make([]uint64, len(bounds))}, func(o *timeline.StageCount) {
			o.Count++
			o.Sum += p.Duration
			for i, most := range bounds {
				if p.Duration <= most {
					o.Buckets[i]++
				}
			}
		})
	order := timeline.Stages()
	slices.SortFunc(b.totals.Stages, func(x, y timeline.StageCount) int {
		return cmp.Compare(slices.Index(order, x.Stage), slices.Index(order, y.Stage))
	})
}

// Restart has the totals begin at 0, since the process that went on with them has died, and may have counted more than is known
// here: a smaller value that is not 0 would be counted twice. What is known of all handoffs counts as counted, but for the result of id.
//
// What is kept is what such a process cannot have counted: handoffs that were undone. As long as it can be replaced by this one, it
// has committed to no successor.
func (b *Book) Restart(id string, now Clock) {
	old := b.totals
	b.totals = timeline.Counters{} // what is counted into it is lost
	for _, e := range b.entries {
		if e.Counted == nil {
			continue
		}
		b.countEntry(e, now)
		if e.ID == id { // how it ended, the incumbent alone says; what the successor had said of itself is counted
			own := result(timeline.Incumbent, Join(*e, now).Result)
			e.Counted.Results = slices.DeleteFunc(e.Counted.Results, func(r string) bool { return r == own })
		}
	}
	b.totals = timeline.Counters{Version: timeline.Version, Since: time.Unix(0, now.Wall), Undone: old.Undone, LastSuccess: old.LastSuccess}
	for _, o := range old.Handoffs {
		if o.Role == timeline.Incumbent && (o.Result == timeline.RolledBack || o.Result == timeline.Revived) {
			b.totals.Handoffs = append(b.totals.Handoffs, o)
		}
	}
	b.frozen = false
}
