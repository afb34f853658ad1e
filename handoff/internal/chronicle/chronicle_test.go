package chronicle

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff/timeline"
)

func at(d time.Duration) Clock { return Clock{Mono: int64(d), Wall: int64(d), NS: 1} }

// handed is a book in which a handoff is done, as the successor has it.
func handed(id string) *Book {
	b := NewBook(at(0))
	h := b.Own(id, timeline.Successor)
	h.Clock = at(time.Second)
	h.Begin(timeline.StageWarmup, 1)
	h.End(timeline.StageWarmup, time.Millisecond)
	h.Opened, h.Confirmed, h.Ended, h.Result = 2*time.Millisecond, 3*time.Millisecond, 3*time.Millisecond, timeline.Done
	b.Changed(id)
	return b
}

func results(c timeline.Counters, r timeline.Result) (n uint64) {
	for _, o := range c.Handoffs {
		if o.Role == timeline.Incumbent && o.Result == r {
			n += o.Count
		}
	}
	return n
}

// The clocks of two processes: the gap is between them.
func TestJoin(t *testing.T) {
	i := &Half{Rev: 1, Clock: at(10 * time.Second), Paused: 5 * time.Millisecond, Result: timeline.Done, Ended: 9 * time.Millisecond}
	i.Begin(timeline.StageDrain, 9*time.Millisecond)
	s := &Half{Rev: 1, Clock: at(10*time.Second + 2*time.Millisecond), Opened: 4 * time.Millisecond, Result: timeline.Done, Ended: 5 * time.Millisecond}
	now := at(11 * time.Second)
	for name, other := range map[string]Clock{
		"one time namespace": s.Clock,
		"two":                {Mono: 77, Wall: s.Clock.Wall, NS: 2},
	} {
		s := *s
		s.Clock = other
		h := Join(Entry{ID: "x", Incumbent: i, Successor: &s}, now)
		if gap, ok := h.Stage(timeline.StageGap); !ok || gap.Start != 5*time.Millisecond || gap.Duration != time.Millisecond || gap.Running {
			t.Errorf("%s: gap %+v", name, gap)
		}
	}
	h := Join(Entry{ID: "x", Incumbent: i, Successor: s}, now)
	if drain, _ := h.Stage(timeline.StageDrain); !drain.Running {
		t.Errorf("the drain has ended: %+v", drain)
	}
	s.PeerGone = 100 * time.Millisecond
	h = Join(Entry{ID: "x", Incumbent: i, Successor: s}, now)
	if drain, _ := h.Stage(timeline.StageDrain); drain.Running || drain.Duration != 93*time.Millisecond {
		t.Errorf("the incumbent is gone, its drain is %+v", drain)
	}
	if h.Duration != 9*time.Millisecond || h.Result != timeline.Done {
		t.Errorf("it took %v: %v", h.Duration, h.Result)
	}
}

// TestStagesFollow: what two processes have measured does not overlap by the time that a message took.
func TestStagesFollow(t *testing.T) {
	const ms = time.Millisecond
	half := func(spans ...timeline.Span) *Half { return &Half{Rev: 1, Clock: at(time.Second), Spans: spans} }
	span := func(s timeline.Stage, from, to time.Duration) timeline.Span {
		return timeline.Span{Stage: s, Start: from, Duration: to - from}
	}
	i := half(span(timeline.StageOffer, 1*ms, 5*ms), span(timeline.StagePrepare, 10*ms, 20*ms), span(timeline.StageState, 12*ms, 15*ms),
		span(timeline.StageConnections, 30*ms, 60*ms), span(timeline.StageGuard, 30*ms, 70*ms), span(timeline.StageDrain, 30*ms, 80*ms))
	s := half(span(timeline.StageWarmup, 4*ms, 9*ms), span(timeline.StageProbation, 21*ms, 31*ms))
	want := []timeline.Span{span(timeline.StageOffer, 1*ms, 4*ms), s.Spans[0], i.Spans[1], i.Spans[2], span(timeline.StageProbation, 21*ms, 30*ms),
		i.Spans[3], i.Spans[4], i.Spans[5]}
	if got := Join(Entry{ID: "x", Incumbent: i, Successor: s}, at(2*time.Second)).Stages; !slices.Equal(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

// TestTotals is the table of Generation.Counters.
func TestTotals(t *testing.T) {
	now := at(time.Minute)
	a := handed("h1") // generation 2 of a chain: it owns
	if c := a.Totals(now); results(c, timeline.Done) != 1 || results(a.Totals(now), timeline.Done) != 1 {
		t.Fatalf("one handoff, counted: %+v", c)
	}
	begin := func() (base timeline.Counters, entries []Entry) {
		h := a.Own("h2", timeline.Incumbent)
		h.Clock = at(2 * time.Second)
		base = a.Totals(now)
		a.Hold()
		entries, _ = a.Since(0)
		return base, entries
	}
	base, entries := begin()
	// The successor goes on, from frames.
	b := handed("h2")
	for _, body := range Encode(Report{Entries: entries, Counters: &base}) {
		r, err := Decode(body)
		if err != nil {
			t.Fatal(err)
		}
		if r.Counters != nil {
			b.Adopt(*r.Counters, r.Entries)
		} else {
			b.Put(r.Entries)
		}
	}
	if c := b.Totals(now); results(c, timeline.Done) != 2 {
		t.Fatalf("the successor counts %+v", c)
	}
	if c := a.Totals(now); results(c, timeline.Done) != 1 {
		t.Errorf("the incumbent counts on: %+v", c)
	}
	mine := *a.find("h2").half(timeline.Incumbent)
	undo := func(r timeline.Result) {
		mine.Result, mine.Ended, mine.Reason = r, time.Second, timeline.ReasonDied
		a.Changed("h2")
	}
	t.Run("handed back", func(t *testing.T) {
		c := *a
		defer func() { *a = c }()
		totals := b.Totals(now)
		back, _ := b.Since(0)
		before := *mine
		defer func() { *mine = before; a.find("h2").Counted = &Counted{}; a.find("h2").Successor = nil }()
		undo(timeline.Revived)
		a.Adopt(totals, back)
		a.Resume()
		if c := a.Totals(now); results(c, timeline.Done) != 2 || results(c, timeline.Revived) != 1 || len(c.Undone) != 1 {
			t.Errorf("got %+v", c)
		}
	})
	t.Run("failed before it owned", func(t *testing.T) {
		undo(timeline.Failed)
		a.Resume()
		if c := a.Totals(now); results(c, timeline.Done) != 1 || results(c, timeline.Failed) != 1 {
			t.Errorf("got %+v", c)
		}
	})
	for n, id := range []string{"r1", "r2", "r3"} { // several revivals
		h := a.Own(id, timeline.Incumbent)
		h.Clock = at(3 * time.Second)
		a.Totals(now)
		a.Hold()
		// The successor has said that it is well, before it died.
		a.Put([]Entry{{ID: id, Successor: &Half{Rev: 1, Clock: at(3 * time.Second), Result: timeline.Done, Ended: time.Millisecond}}})
		h.Result, h.Ended, h.Reason = timeline.Revived, time.Second, timeline.ReasonDied
		a.Changed(id)
		a.Restart(id, now)
		c := a.Totals(now)
		if results(c, timeline.Revived) != uint64(n+1) || len(c.Undone) != 1 || c.Undone[0].Count != uint64(n+1) {
			t.Errorf("%d revivals are counted as %+v", n+1, c)
		}
		for _, o := range c.Handoffs {
			if o.Result != timeline.Revived {
				t.Errorf("after revival %d, %+v is neither 0 nor as large as the successor may have had it", n+1, o)
			}
		}
		if len(c.Stages) != 0 || len(c.Sockets) != 0 || len(c.Conns) != 0 {
			t.Errorf("these do not begin at 0: %+v", c)
		}
	}
}

// What a successor says of the incumbent's own half changes nothing, and old news neither.
func TestMerge(t *testing.T) {
	b := NewBook(at(0))
	b.Own("x", timeline.Incumbent)
	b.Put([]Entry{{ID: "x", Incumbent: &Half{Rev: 99, Result: timeline.Done}, Successor: &Half{Rev: 3, Error: "new"}}})
	b.Put([]Entry{{ID: "x", Successor: &Half{Rev: 2, Error: "old"}}})
	e := b.find("x")
	if e.Incumbent.Result != timeline.Running || e.Successor.Error != "new" {
		t.Errorf("got %+v, %+v", e.Incumbent, e.Successor)
	}
	for n := range 2 * timeline.MaxHandoffs {
		b.Own("y"+strings.Repeat("y", n), timeline.Incumbent)
	}
	if h := b.History(at(0)); len(h) != timeline.MaxHandoffs {
		t.Errorf("%d are kept", len(h))
	}
}

// The past fits, whatever it holds.
func TestEncodeBounds(t *testing.T) {
	var entries []Entry
	for n := range timeline.MaxHandoffs {
		h := &Half{Rev: 1, Result: timeline.Failed, Error: strings.Repeat("\"", 1<<16), Output: strings.Repeat("\x01", 1<<16)}
		for range 1000 {
			h.Sections = append(h.Sections, timeline.Section{Name: strings.Repeat("s", 1000)})
		}
		entries = append(entries, Entry{ID: string(rune('a' + n)), Incumbent: h})
	}
	all := Encode(Report{Entries: entries})
	if len(all) == 0 || len(all) > MaxReports {
		t.Fatalf("%d reports", len(all))
	}
	seen := 0
	for _, b := range all {
		r, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(r.Entries)
		if len(r.Entries) > 0 && seen == len(r.Entries) && r.Entries[len(r.Entries)-1].ID != entries[len(entries)-1].ID {
			t.Error("the newest one does not come first")
		}
	}
	if seen == 0 {
		t.Error("nothing fits")
	}
}

func FuzzDecode(f *testing.F) {
	b := handed("h1")
	c := b.Totals(at(time.Minute))
	entries, _ := b.Since(0)
	for _, body := range Encode(Report{Entries: entries, Counters: &c, Generations: []timeline.Generation{{Generation: 1, PID: 2}}}) {
		f.Add(body)
	}
	f.Add([]byte(`{"version":1,"entries":[{"id":"x","counted":{"connections":{"served":-1}},"incumbent":{"rev":-1,"spans":[{"stage":"gap","start":-5}]}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Decode(body)
		if err != nil {
			if !errors.Is(err, ErrReport) {
				t.Fatal(err)
			}
			return
		}
		book := NewBook(at(0))
		if r.Counters != nil {
			book.Adopt(*r.Counters, r.Entries)
		}
		book.Put(r.Entries)
		book.Totals(at(time.Hour))
		history := book.History(at(time.Hour))
		if len(history) > timeline.MaxHandoffs {
			t.Fatalf("%d records", len(history))
		}
		for _, h := range history {
			_ = h.String()
		}
		for _, again := range Encode(r) {
			back, err := Decode(again)
			if err != nil {
				t.Fatalf("%s: %v", again, err)
			}
			once, err := json.Marshal(back)
			if err != nil {
				t.Fatal(err)
			}
			third, err := Decode(once)
			if err == nil && !reflect.DeepEqual(back, third) {
				t.Fatalf("got %+v\nwant %+v", third, back)
			}
		}
	})
}

// The words of package timeline are all in their lists.
func TestStagesInOrder(t *testing.T) {
	if s := timeline.Stages(); len(s) != 11 || slices.Index(s, timeline.StageGap) < slices.Index(s, timeline.StageState) {
		t.Errorf("%v", s)
	}
}
