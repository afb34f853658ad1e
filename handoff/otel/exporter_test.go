package otel_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/segue-go/segue/handoff/otel"
	"github.com/segue-go/segue/handoff/timeline"
)

// book is a generation whose history a test writes.
type book struct {
	mu  sync.Mutex
	all []timeline.Handoff
}

func (b *book) History() []timeline.Handoff {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.all)
}

// write replaces the whole history.
func (b *book) write(all ...timeline.Handoff) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = all
}

// start is when all handoffs of these tests begin.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// record is that of a handoff that took a second.
func record(id string, role timeline.Role, result timeline.Result, stages ...timeline.Span) timeline.Handoff {
	return timeline.Handoff{
		Version: timeline.Version, ID: id, Role: role, Result: result, Started: start, Duration: time.Second, Stages: stages,
		Halves: []timeline.Role{timeline.Incumbent, timeline.Successor},
	}
}

func stage(s timeline.Stage, from, to time.Duration) timeline.Span {
	return timeline.Span{Stage: s, Start: from, Duration: to - from}
}

func runs(s timeline.Stage, from, to time.Duration) timeline.Span {
	return timeline.Span{Stage: s, Start: from, Duration: to - from, Running: true}
}

// observed is an exporter whose spans are recorded.
type observed struct {
	book
	*otel.Exporter
	spans *tracetest.SpanRecorder
}

func observe(t *testing.T) *observed {
	t.Helper()
	o := &observed{spans: tracetest.NewSpanRecorder()}
	p := sdk.NewTracerProvider(sdk.WithSpanProcessor(o.spans))
	o.Exporter = otel.New(&o.book, p)
	t.Cleanup(func() {
		if err := errors.Join(o.Shutdown(context.Background()), p.Shutdown(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return o
}

// exported are the IDs of the handoffs that were exported, and their results.
func (o *observed) exported() (all []string) {
	for _, s := range o.spans.Ended() {
		if s.Name() == "segue.handoff" {
			all = append(all, value(s.Attributes(), "segue.handoff.id").AsString()+" "+value(s.Attributes(), "segue.handoff.result").AsString())
		}
	}
	return all
}

// want fails the test unless these were exported so far.
func (o *observed) want(t *testing.T, when string, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := o.exported(); !slices.Equal(got, want) {
		t.Errorf("%s: exported %q, want %q", when, got, want)
	}
}

func value(all []attribute.KeyValue, key attribute.Key) attribute.Value {
	for _, a := range all {
		if a.Key == key {
			return a.Value
		}
	}
	return attribute.Value{}
}

const sec = time.Second

// rounds is long enough for a record that does not change any more.
const rounds = 3 * sec

// TestWho: each handoff is exported by the side that the documentation names, and only there.
func TestWho(t *testing.T) {
	over := []timeline.Span{stage(timeline.StageGuard, sec, 2*sec), stage(timeline.StageDrain, sec, 3*sec)}
	late := record("a", "", timeline.Orphaned, over...)
	late.Duration = 2*sec + otel.Patience
	alone := record("a", "", timeline.Done, over...)
	alone.Halves = alone.Halves[:1]
	rescue := record("a", "", timeline.Done)
	rescue.Cause, rescue.Halves = timeline.CauseRescue, rescue.Halves[1:]
	for _, tt := range []struct {
		name string
		h    timeline.Handoff
		want []timeline.Role
	}{
		{"done", record("a", "", timeline.Done, over...), []timeline.Role{timeline.Successor}},
		{"failed", record("a", "", timeline.Failed), []timeline.Role{timeline.Incumbent}},
		{"aborted", record("a", "", timeline.Aborted), []timeline.Role{timeline.Incumbent}},
		{"rolled back", record("a", "", timeline.RolledBack), []timeline.Role{timeline.Incumbent}},
		{"revived", record("a", "", timeline.Revived, over...), []timeline.Role{timeline.Incumbent}},
		{"stale", record("a", "", timeline.Stale, over...), []timeline.Role{timeline.Incumbent}},
		{"orphaned", record("a", "", timeline.Orphaned, over...), []timeline.Role{timeline.Incumbent}},
		{"orphaned when it was exported as done", late, nil},
		{"left", record("a", "", timeline.Left), []timeline.Role{timeline.Successor}},
		{"rescue", rescue, []timeline.Role{timeline.Successor}},
		{"running", record("a", "", timeline.Running, runs(timeline.StageWarmup, 0, sec)), nil},
	} {
		for _, role := range []timeline.Role{timeline.Incumbent, timeline.Successor, ""} {
			if tt.name == "rescue" && role == timeline.Incumbent {
				continue // that does not answer, and has no record
			}
			t.Run(fmt.Sprintf("%s, by %q", tt.name, role), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := observe(t)
					tt.h.Role = role
					o.write(tt.h)
					time.Sleep(rounds)
					var want []string
					if slices.Contains(tt.want, role) {
						want = []string{"a " + string(tt.h.Result)}
					}
					o.want(t, "soon", want...)
					time.Sleep(2 * otel.Patience)
					o.want(t, "later", want...)
				})
			})
		}
	}
	t.Run("done, with a successor without records", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := observe(t)
			alone.Role = timeline.Incumbent
			o.write(alone)
			time.Sleep(rounds)
			o.want(t, "when it has drained", "a done")
		})
	})
}

// TestWhen: a handoff that is done waits for the guard, and for the last stages as long as Patience, or until this process has nothing more to say.
func TestWhen(t *testing.T) {
	done := func(stages ...timeline.Span) timeline.Handoff {
		return record("a", timeline.Successor, timeline.Done, stages...)
	}
	guard, drain := stage(timeline.StageGuard, sec, 2*sec), stage(timeline.StageDrain, sec, 3*sec)
	guarding, draining := runs(timeline.StageGuard, sec, 2*sec), runs(timeline.StageDrain, sec, 3*sec)

	t.Run("it is drained", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := observe(t)
			o.write(done()) // what the incumbent does is not known yet
			time.Sleep(rounds)
			o.want(t, "before it is known")
			o.write(done(guarding, draining))
			time.Sleep(5 * otel.Patience)
			o.want(t, "while it may be undone")
			o.write(done(guard, draining))
			time.Sleep(otel.Patience / 2)
			o.want(t, "while the incumbent drains")
			o.write(done(guard, drain))
			time.Sleep(rounds)
			o.want(t, "when it has drained", "a done")
		})
	})
	t.Run("it drains for long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := observe(t)
			o.write(done(guard, draining))
			time.Sleep(otel.Patience + rounds)
			o.want(t, "after Patience", "a done")
			o.write(done(guard, drain))
			time.Sleep(2 * otel.Patience)
			o.want(t, "when it has drained", "a done")
			for _, s := range o.spans.Ended() {
				if running := value(s.Attributes(), "segue.stage.running").AsBool(); running != (s.Name() == "segue.handoff.drain") {
					t.Errorf("%s: running %v", s.Name(), running)
				}
			}
		})
	})
	t.Run("it is undone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := observe(t)
			o.write(done(guarding, draining))
			time.Sleep(rounds)
			o.write(record("a", timeline.Successor, timeline.RolledBack, guard, drain))
			time.Sleep(2 * otel.Patience)
			_ = o.Shutdown(t.Context())
			o.want(t, "by the successor")
		})
	})
	t.Run("this process is superseded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := observe(t)
			next := record("b", timeline.Incumbent, timeline.Revived, guard, drain)
			o.write(done(guard, draining), next)
			time.Sleep(rounds)
			o.want(t, "when it is not", "b revived")
			next.ID, next.Result = "c", timeline.Done
			o.write(done(guard, draining), next)
			time.Sleep(rounds)
			o.want(t, "when it is", "b revived", "a done")
		})
	})
	t.Run("shutdown", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := observe(t)
			o.write(done(guarding, draining), record("b", timeline.Incumbent, timeline.Failed), record("c", timeline.Incumbent, timeline.Running))
			for range 2 {
				if err := o.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			}
			o.want(t, "at the end", "a done", "b failed")
		})
	})
	t.Run("the history is full", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := observe(t)
			o.write(done(guard, draining))
			time.Sleep(rounds)
			o.write()
			time.Sleep(rounds)
			o.want(t, "when it is not in it any more", "a done")
		})
	})
}

// TestShutdownIsBounded: a span processor that hangs holds nobody up for longer than the context says.
func TestShutdownIsBounded(t *testing.T) {
	stuck := &hang{begun: make(chan struct{}), end: make(chan struct{})}
	var b book
	b.write(record("a", timeline.Incumbent, timeline.Failed))
	e := otel.New(&b, sdk.NewTracerProvider(sdk.WithSpanProcessor(stuck)))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	go func() {
		<-stuck.begun
		cancel(why)
	}()
	if err := e.Shutdown(ctx); !errors.Is(err, why) {
		t.Errorf("Shutdown: %v", err)
	}
	close(stuck.end)
	if err := e.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown again: %v", err)
	}
	if err := otel.New(&b, nil).Shutdown(t.Context()); err != nil {
		t.Errorf("without a provider: %v", err)
	}
}

type hang struct {
	once       sync.Once
	begun, end chan struct{}
}

func (h *hang) OnStart(context.Context, sdk.ReadWriteSpan) {}
func (h *hang) OnEnd(sdk.ReadOnlySpan) {
	h.once.Do(func() { close(h.begun) })
	<-h.end
}
func (h *hang) Shutdown(context.Context) error   { return nil }
func (h *hang) ForceFlush(context.Context) error { return nil }

// TestSpans: one trace with all that the record says, at its times.
func TestSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := observe(t)
		h := record("00c0ffee00c0ffee", timeline.Incumbent, timeline.Failed, stage(timeline.StageSpawn, 0, 10), stage(timeline.StageHello, 10, 30),
			stage(timeline.StageWarmup, 40, 500))
		h.Cause, h.Transport, h.Reason, h.Error, h.Output = timeline.CauseUpgrade, timeline.TransportTaken, timeline.ReasonDied, "it died", "secret"
		h.From = timeline.Process{Generation: 3, PID: 30, Program: "v3"}
		h.To = timeline.Process{Generation: 4, PID: 40}
		h.Sockets = []timeline.Sockets{{Kind: timeline.Listener, Offered: 2, Moved: 1}, {Kind: timeline.File, Offered: 1, Moved: 1}}
		h.Conns = []timeline.Conns{{Kind: timeline.ConnServed, Moved: 4, Kept: 2, Refused: 1}, {Kind: timeline.ConnGiven, Moved: 1}}
		h.Sections = []timeline.Section{{Name: "cache", Bytes: 7}, {Name: "rest", Bytes: 3}}
		h.Refused = []timeline.Refusal{{Kind: timeline.Listener, Name: "admin", Reason: timeline.ReasonUnclaimed}}
		h.Exit = &timeline.Exit{Status: -1, Signal: "killed"}
		o.write(h)
		time.Sleep(rounds)
		synctest.Wait()
		all := o.spans.Ended()
		if len(all) != 4 {
			t.Fatalf("%d spans", len(all))
		}
		parent := all[3]
		if parent.Name() != "segue.handoff" || parent.Parent().IsValid() || parent.SpanKind() != trace.SpanKindInternal {
			t.Errorf("the handoff: %s, parent %v", parent.Name(), parent.Parent())
		}
		if s := parent.Status(); s.Code != codes.Error || s.Description != "died: it died" {
			t.Errorf("status: %+v", s)
		}
		if !parent.StartTime().Equal(start) || !parent.EndTime().Equal(start.Add(time.Second)) {
			t.Errorf("from %v to %v", parent.StartTime(), parent.EndTime())
		}
		for i, s := range h.Stages {
			c := all[i]
			if c.Name() != "segue.handoff."+string(s.Stage) || c.Parent().SpanID() != parent.SpanContext().SpanID() ||
				c.SpanContext().TraceID() != parent.SpanContext().TraceID() {
				t.Errorf("stage %s: %s, of %v", s.Stage, c.Name(), c.Parent())
			}
			if !c.StartTime().Equal(start.Add(s.Start)) || c.EndTime().Sub(c.StartTime()) != s.Duration {
				t.Errorf("stage %s: from %v to %v", s.Stage, c.StartTime(), c.EndTime())
			}
		}
		got := make(map[string]any)
		for _, a := range parent.Attributes() {
			got[string(a.Key)] = a.Value.AsInterface()
		}
		want := map[string]any{
			"segue.handoff.id": "00c0ffee00c0ffee", "segue.handoff.cause": "upgrade", "segue.handoff.result": "failed",
			"segue.handoff.reason": "died", "segue.handoff.transport": "taken", "segue.handoff.joined": true,
			"segue.from.generation": int64(3), "segue.from.pid": int64(30), "segue.from.program": "v3",
			"segue.to.generation": int64(4), "segue.to.pid": int64(40),
			"segue.sockets.offered": int64(3), "segue.sockets.moved": int64(2),
			"segue.connections.moved": int64(5), "segue.connections.kept": int64(2), "segue.connections.refused": int64(1),
			"segue.state.sections": int64(2), "segue.state.bytes": int64(10), "segue.successor.signal": "killed",
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%s: %v, want %v", k, got[k], v)
			}
		}
		if len(got) != len(want) {
			t.Errorf("attributes: %v", got)
		}
		events := parent.Events()
		if len(events) != 2 || events[0].Name != "refused" || value(events[0].Attributes, "segue.resource.name").AsString() != "admin" ||
			!events[0].Time.Equal(start.Add(500)) || events[1].Name != "failed" || !events[1].Time.Equal(start.Add(time.Second)) {
			t.Errorf("events: %+v", events)
		}
	})
}
