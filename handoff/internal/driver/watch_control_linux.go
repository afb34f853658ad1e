package driver

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/internal/control"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/timeline"
)

const (
	// maxWatchers is how many may watch at once: fewer than there are places, so that an upgrade can be asked for.
	maxWatchers = 8
	// watchLook is how often is looked for what comes without a change of phase.
	watchLook = 200 * time.Millisecond
)

// watching is what one watcher has been told. It looks by itself, and nobody waits for it: it has the journal for a queue, which
// keeps the last phases, and of records and drains only their present state counts.
type watching struct {
	d      *Driver
	say    func(control.Answer) error
	seen   int    // of the journal
	seq    uint64 // of the book
	drains []timeline.Generation
}

// watchByControl tells what happens until nobody hears it any more, or this generation is superseded: then who watches asks the next.
func (d *Driver) watchByControl(ctx context.Context, say func(control.Answer) error) {
	defer d.watchers.Add(-1)
	if d.watchers.Add(1) > maxWatchers {
		_ = say(control.Answer{Event: control.Refused, Code: control.CodeBusy, Reason: "too many watch already"})
		return
	}
	w := &watching{d: d, say: say}
	d.mu.Lock()
	w.seen = max(d.journal.count-1, 0) // the present phase is news
	d.mu.Unlock()
	d.annals.mu.Lock()
	w.seq = d.annals.book.Seq()
	d.annals.mu.Unlock()
	if h := d.Chain().Last; say(control.Answer{Event: control.Begun, Generation: d.Status().Number, PID: os.Getpid(), Handoff: h}) != nil {
		return
	}
	look, beat := time.NewTicker(watchLook), time.NewTicker(control.Heartbeat)
	defer look.Stop()
	defer beat.Stop()
	for {
		d.mu.Lock()
		news := d.news
		d.mu.Unlock()
		over, err := w.tell()
		switch {
		case err != nil:
			return
		case over:
			_ = say(control.Answer{Event: control.Done, Code: control.CodeElsewhere})
			return
		}
		select {
		case <-news:
		case <-look.C:
		case <-beat.C:
			if say(control.Answer{Event: control.Alive}) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// tell says what is new. It is over when this generation does not own any more, for good or until it is revived.
func (w *watching) tell() (over bool, err error) {
	d := w.d
	d.mu.Lock()
	phases, lost, count := d.journal.past(w.seen)
	number := d.number
	_, successor := d.peersLocked()
	phase := d.phase
	d.mu.Unlock()
	d.annals.mu.Lock()
	var records []timeline.Handoff
	if d.annals.book.Seq() != w.seq {
		var entries []string
		entries, w.seq = d.annals.book.ChangedSince(w.seq)
		for _, id := range entries {
			if h, ok := d.annals.book.Record(id, now()); ok {
				records = append(records, h)
			}
		}
	}
	others := slices.Clone(d.annals.others)
	d.annals.mu.Unlock()
	w.seen = count
	answer := func(a control.Answer) {
		if err == nil {
			a.Generation, a.PID = number, os.Getpid()
			err = w.say(a)
		}
	}
	if lost > 0 {
		answer(control.Answer{Event: control.Lost, Count: lost})
	}
	for _, p := range phases {
		answer(control.Answer{Event: control.Phase, Phase: p.phase.String(), At: p.at, Successor: successor})
	}
	for _, h := range records {
		answer(control.Answer{Event: control.Handoff, Handoff: &h})
	}
	if !slices.EqualFunc(others, w.drains, sameDrain) {
		w.drains = others
		answer(control.Answer{Event: control.Drain, Generations: others})
	}
	return phase == succession.PhaseDraining || phase == succession.PhaseStopped, err
}

// sameDrain reports whether two say the same of a drain.
func sameDrain(a, b timeline.Generation) bool {
	return a.Generation == b.Generation && a.PID == b.PID && a.Phase == b.Phase && a.Conns == b.Conns && slices.Equal(a.Waits, b.Waits)
}
