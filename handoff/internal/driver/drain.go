package driver

import (
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/timeline"
)

// traceDrain tells of a drain that begins, until this generation does not drain any more. It is a task.
func (d *Driver) traceDrain(f func(timeline.DrainProgress)) {
	tell := func(g timeline.Generation, ended bool) {
		e := d.event()
		if r := d.lastRecord(); r != nil {
			e = r.event()
		}
		f(timeline.DrainProgress{Event: e, Conns: g.Conns, Waits: g.Waits, Ended: ended})
	}
	told := d.self(false)
	tell(told, false)
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	for {
		d.mu.Lock()
		drains, news := d.phase == succession.PhaseDraining, d.news
		d.mu.Unlock()
		if !drains || d.ctx.Err() != nil { // Close waits for this task before the phase is stopped
			tell(d.self(false), true)
			return
		}
		select {
		case <-news:
		case <-d.ctx.Done():
		case <-t.C:
			if g := d.self(false); g.Conns != told.Conns || !slices.Equal(g.Waits, told.Waits) {
				told = g
				tell(g, false)
			}
		}
	}
}
