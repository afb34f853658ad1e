package handoff_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// toldOf collects what a Trace tells.
type toldOf struct {
	mu  sync.Mutex
	all []string
}

func (x *toldOf) add(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all = append(x.all, fmt.Sprintf(format, args...))
}

func (x *toldOf) told() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.all)
}

// TestTraceOfResourcesAndDrain: both sides tell what the successor's program asked for, and the incumbent of its drain.
func TestTraceOfResourcesAndDrain(t *testing.T) {
	path := rendezvous(t)
	with := func(x *toldOf, guard time.Duration) handoff.Config {
		c := config(t, path)
		c.Guard = guard
		c.Trace = &handoff.Trace{
			Resource: func(m timeline.ResourceMoved) { x.add("%s %s %s", m.Name, m.Fate, m.Reason) },
			Drain:    func(m timeline.DrainProgress) { x.add("drain %v", m.Ended) },
			Begun:    func(m timeline.Begun) { x.add("begun %s", m.Cause) },
		}
		return c
	}
	var atA, atB toldOf
	a := join(t, with(&atA, time.Minute))
	listenAs(t, a, "web", "tcp", "127.0.0.1:0")
	listenAs(t, a, "old", "tcp", "127.0.0.1:0")
	ready(t, a)
	b := join(t, with(&atB, time.Minute))
	listenAs(t, b, "web", "tcp", "127.0.0.1:0")
	ready(t, b)
	superseded(t, a)
	if err := b.Fail(errors.New("no disk")); err != nil {
		t.Fatal(err)
	}
	awaitPhase(t, a, handoff.PhaseServing)
	eventually(t, "the end of the drain", func() bool { return slices.Contains(atA.told(), "drain true") })
	want := []string{"begun caller", "web offered ", "old offered ", "web claimed ", "old declined unclaimed", "drain false", "drain true"}
	if got := atA.told(); !slices.Equal(got, want) {
		t.Errorf("the incumbent: %q, want %q", got, want)
	}
	want = []string{"begun caller", "web arrived ", "old arrived ", "web claimed ", "old declined unclaimed"}
	if got := atB.told(); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		t.Errorf("the successor: %q, want %q", got, want)
	}
}

// TestDryRunHasNoRecord: it is no handoff.
func TestDryRunHasNoRecord(t *testing.T) {
	path := rendezvous(t)
	a, _ := first(t, longGuard(t, path))
	r := dryRaw(t, path)
	r.prepared(r.receipts(), 0)
	hear[*wire.Abort](r)
	r.close()
	eventually(t, "the incumbent serves on", func() bool { return a.Status().Phase == handoff.PhaseServing && a.Status().Successor == 0 })
	if h := a.History(); len(h) != 0 {
		t.Errorf("a record: %v", h)
	}
	if c := a.Counters().Handoffs; len(c) != 0 {
		t.Errorf("counted: %+v", c)
	}
}

// TestTurnedAwayHasRecord: a flood of callers that no handoff can begin with has one record for each kind, which counts once.
func TestTurnedAwayHasRecord(t *testing.T) {
	path := rendezvous(t)
	c := longGuard(t, path)
	a, _ := first(t, c)
	b := join(t, longGuard(t, path))
	listen(t, b, "tcp", "127.0.0.1:0")
	ready(t, b)
	superseded(t, a)
	for range 3 * timeline.MaxHandoffs {
		r := dialRaw(t, path)
		r.send(&wire.Hello{Versions: []int{77}, Name: "new", PID: 1})
		hear[*wire.Refuse](r)
		r.close()
	}
	h := b.History()
	if len(h) != 2 || h[0].Result != timeline.Done || h[1].Result != timeline.Failed || h[1].Reason != timeline.ReasonVersion {
		t.Fatalf("%v", h)
	}
	if h[1].To.PID != os.Getpid() || h[1].To.Program != "new" || h[1].Error == "" {
		t.Errorf("who: %+v", h[1])
	}
	if n := count(b, timeline.Failed); n != 1 {
		t.Errorf("%d failed, want 1", n)
	}
}
