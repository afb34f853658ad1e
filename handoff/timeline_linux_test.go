package handoff_test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"sync"
	"testing"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// count returns how many handoffs of a result the chain has counted for the incumbent.
func count(g *handoff.Generation, want timeline.Result) (n uint64) {
	for _, c := range g.Counters().Handoffs {
		if c.Role == timeline.Incumbent && c.Result == want {
			n += c.Count
		}
	}
	return n
}

// results are those of the history.
func results(g *handoff.Generation) (all []timeline.Result) {
	for _, h := range g.History() {
		all = append(all, h.Result)
	}
	return all
}

// TestTimeline: the successor has the joined record of its own handoff, and those before; totals go on, and begin anew when a
// successor dies that has gone on with them.
func TestTimeline(t *testing.T) {
	path := rendezvous(t)
	c := longGuard(t, path)
	c.Command = func() *exec.Cmd { return exec.Command("sh", "-c", "echo this version is broken; exit 3") }
	a, _ := first(t, c)
	if err := a.Upgrade(bounded(t)); err == nil {
		t.Fatal("it has not failed")
	}
	h := a.History()
	if len(h) != 1 || h[0].Result != timeline.Failed || h[0].Exit == nil || h[0].Exit.Status != 3 || h[0].Output != "this version is broken" {
		t.Fatalf("the failed one: %v", h)
	}
	if n := count(a, timeline.Failed); n != 1 {
		t.Errorf("%d failed, want 1", n)
	}
	var mu sync.Mutex
	var milestones []timeline.Milestone
	var ended []timeline.Result
	b := join(t, func() handoff.Config {
		c := longGuard(t, path)
		c.Trace = &handoff.Trace{
			Milestone: func(m timeline.Reached) { mu.Lock(); defer mu.Unlock(); milestones = append(milestones, m.Milestone) },
			Ended:     func(h timeline.HandoffEnded) { mu.Lock(); defer mu.Unlock(); ended = append(ended, h.Record.Result) },
		}
		return c
	}())
	listen(t, b, "tcp", "127.0.0.1:0")
	ready(t, b)
	superseded(t, a)
	eventually(t, "the incumbent's half at the successor", func() bool {
		h := b.History()
		_, gap := h[len(h)-1].Stage(timeline.StageGap)
		return len(h) == 2 && len(h[1].Halves) == 2 && gap
	})
	h = b.History()
	if !slices.Equal(results(b), []timeline.Result{timeline.Failed, timeline.Done}) {
		t.Errorf("results: %v", results(b))
	}
	last := h[1]
	if last.From.Generation != 1 || last.To.Generation != 2 || last.Cause != timeline.CauseCaller || last.Transport == "" {
		t.Errorf("who: %+v", last)
	}
	for _, s := range []timeline.Stage{timeline.StageHello, timeline.StageOffer, timeline.StageWarmup, timeline.StagePrepare, timeline.StageGap} {
		if p, ok := last.Stage(s); !ok || p.Running || p.Start < 0 || p.Start > last.Duration {
			t.Errorf("stage %s: %+v, %v", s, p, ok)
		}
	}
	if n := count(b, timeline.Done); n != 1 {
		t.Errorf("%d done, want 1", n)
	}
	if n := count(b, timeline.Failed); n != 1 {
		t.Errorf("%d failed at the successor, want 1", n)
	}
	if text := last.String(); len(text) < 100 {
		t.Errorf("as a table: %q", text)
	}
	if b, err := json.Marshal(last); err != nil || len(b) > 4<<10 {
		t.Errorf("JSON of %d bytes: %v", len(b), err)
	}
	mu.Lock()
	if !slices.Equal(milestones, []timeline.Milestone{timeline.Prepared, timeline.Owned, timeline.Confirmed}) || !slices.Equal(ended, []timeline.Result{timeline.Done}) {
		t.Errorf("traced %v, %v", milestones, ended)
	}
	mu.Unlock()
	// It gives the sockets back: its totals come along.
	if err := b.Fail(errors.New("no disk")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the incumbent serves again", func() bool { return a.Status().Phase == handoff.PhaseServing })
	if done, revived := count(a, timeline.Done), count(a, timeline.Revived); done != 1 || revived != 1 {
		t.Errorf("after the hand-back: %d done, %d revived, want 1 and 1: %+v", done, revived, a.Counters())
	}
	if n := count(a, timeline.Failed); n != 1 {
		t.Errorf("%d failed after the hand-back, want 1", n)
	}
	if u := a.Counters().Undone; len(u) != 1 || u[0].Reason != timeline.ReasonCheck {
		t.Errorf("undone: %+v", u)
	}
}

// TestTimelineOfOlderPeer: a successor that does not know the feature is served as ever.
func TestTimelineOfOlderPeer(t *testing.T) {
	path := rendezvous(t)
	a, _ := first(t, longGuard(t, path))
	r := dialRaw(t, path)
	r.owned(0)
	eventually(t, "it is in the incumbent's history", func() bool { return len(a.History()) == 1 })
	if h := a.History()[0]; !slices.Equal(h.Halves, []timeline.Role{timeline.Incumbent}) {
		t.Errorf("halves: %v", h.Halves)
	}
}

// TestTimelineOfDeath: a successor that dies before it has confirmed has died, although its link ends a little before it does. That
// is seen in one order or the other, hence several.
func TestTimelineOfDeath(t *testing.T) {
	for range 8 {
		t.Run("", func(t *testing.T) {
			path := rendezvous(t)
			a, _ := first(t, longGuard(t, path))
			r := dialRaw(t, path)
			var pup *puppet
			r.voice = func(m wire.Message) { pup = r.puppetSays(m) }
			r.owned(2 * patience)
			must(t, r.conn.Close())
			pup.kill()
			eventually(t, "the incumbent serves again", func() bool { return a.Status().Phase == handoff.PhaseServing })
			if h := a.History(); len(h) != 1 || h[0].Result != timeline.RolledBack || h[0].Reason != timeline.ReasonDied {
				t.Errorf("history: %+v", h)
			}
			if u := a.Counters().Undone; len(u) != 1 || u[0].Reason != timeline.ReasonDied {
				t.Errorf("undone: %+v", u)
			}
		})
	}
}
