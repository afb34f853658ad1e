package chronicle

import (
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/timeline"
)

// Book has the last handoffs of a chain and its totals. It is not for several goroutines at once.
//
// Totals are counted by who owns the sockets, and by nobody else, since only that process is asked: see Count, Hold and
// Restart.
type Book struct {
	entries []*Entry // the oldest first
	seq     uint64   // of changes
	totals  timeline.Counters
	frozen  bool // Hold was called
}

// NewBook begins a book.
func NewBook(now Clock) *Book {
	b := &Book{}
	b.totals = timeline.Counters{Version: timeline.Version, Since: time.Unix(0, now.Wall)}
	return b
}

// Own adds a handoff in which this process has a part, and returns its half. Each change of that is followed by Changed.
func (b *Book) Own(id string, r timeline.Role) *Half {
	e := b.find(id)
	if e == nil {
		e = &Entry{ID: id}
		b.add(e)
	}
	e.Counted = &Counted{}
	h := &Half{Rev: 1, Result: timeline.Running}
	*e.half(r), e.mine = h, r
	b.touch(e)
	return h
}

// Changed says that the own half of id has changed.
func (b *Book) Changed(id string) {
	if e := b.find(id); e != nil {
		(*e.half(e.mine)).Rev++
		b.touch(e)
	}
}

// Renew makes id the newest one. It reports false if that is not kept any more.
func (b *Book) Renew(id string) bool {
	at := slices.IndexFunc(b.entries, func(e *Entry) bool { return e.ID == id })
	if at < 0 {
		return false
	}
	e := b.entries[at]
	b.entries = append(slices.Delete(b.entries, at, at+1), e)
	return true
}

func (b *Book) find(id string) *Entry {
	for _, e := range b.entries {
		if e.ID == id {
			return e
		}
	}
	return nil
}

func (b *Book) touch(e *Entry) {
	b.seq++
	e.stamp = b.seq
}

func (b *Book) add(e *Entry) {
	b.entries = append(b.entries, e)
	if n := len(b.entries) - timeline.MaxHandoffs; n > 0 {
		b.entries = slices.Delete(b.entries, 0, n)
	}
}

// Put takes what another process knows. What is new is not counted, and is older than what is here.
func (b *Book) Put(entries []Entry) {
	for _, other := range entries {
		e := b.find(other.ID)
		if e == nil {
			if len(b.entries) >= timeline.MaxHandoffs {
				continue
			}
			e = &Entry{ID: other.ID, Counted: other.Counted}
			at := len(b.entries)
			for at > 0 && (b.entries[at-1].mine != "" || wall(b.entries[at-1]) > wall(&other)) {
				at--
			}
			b.entries = slices.Insert(b.entries, at, e)
		}
		if e.merge(other) {
			b.touch(e)
		}
	}
}

func wall(e *Entry) int64 {
	switch {
	case e.Incumbent != nil:
		return e.Incumbent.Clock.Wall
	case e.Successor != nil:
		return e.Successor.Clock.Wall
	}
	return 0
}

// Adopt makes the totals of another process this one's: those of a predecessor, before this process owns, or of a successor that
// gives the sockets back.
func (b *Book) Adopt(c timeline.Counters, entries []Entry) {
	b.totals = c
	for i := range entries {
		if e := b.find(entries[i].ID); e != nil && entries[i].Counted != nil {
			e.Counted = entries[i].Counted
		}
	}
	b.Put(entries)
}

// Hold ends the counting: another process has got the totals, and goes on with them if it comes to own.
func (b *Book) Hold() { b.frozen = true }

// Resume undoes Hold: the other process has not owned, or its totals were adopted.
func (b *Book) Resume() { b.frozen = false }

// Since returns the entries that have changed after seq, and what to ask with next.
func (b *Book) Since(seq uint64) ([]Entry, uint64) {
	var all []Entry
	for _, e := range b.entries {
		if e.stamp > seq {
			all = append(all, e.clone())
		}
	}
	return all, b.seq
}

// Seq grows with each change.
func (b *Book) Seq() uint64 { return b.seq }

// ChangedSince returns the IDs of the entries that have changed after seq, and what to ask with next.
func (b *Book) ChangedSince(seq uint64) (ids []string, now uint64) {
	for _, e := range b.entries {
		if e.stamp > seq {
			ids = append(ids, e.ID)
		}
	}
	return ids, b.seq
}

func (e *Entry) clone() Entry {
	c := Entry{ID: e.ID}
	for _, r := range []timeline.Role{timeline.Incumbent, timeline.Successor} {
		if h := *e.half(r); h != nil {
			*c.half(r) = h.clone()
		}
	}
	if e.Counted != nil {
		c.Counted = e.Counted.clone()
	}
	return c
}

func (h *Half) clone() *Half {
	c := *h
	c.Spans, c.Sockets, c.Refused = slices.Clone(h.Spans), slices.Clone(h.Sockets), slices.Clone(h.Refused)
	c.Sections, c.Conns = slices.Clone(h.Sections), slices.Clone(h.Conns)
	return &c
}

// History returns all records, the oldest first.
func (b *Book) History(now Clock) []timeline.Handoff {
	all := make([]timeline.Handoff, 0, len(b.entries))
	for _, e := range b.entries {
		all = append(all, Join(*e, now))
	}
	return all
}

// Record returns one.
func (b *Book) Record(id string, now Clock) (timeline.Handoff, bool) {
	if e := b.find(id); e != nil {
		return Join(*e, now), true
	}
	return timeline.Handoff{}, false
}
