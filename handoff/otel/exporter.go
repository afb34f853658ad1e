package otel

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/segue-go/segue/handoff/timeline"
)

// Patience is how long a successor waits for the end of the last stages, from the end of the incumbent's guard on, before it exports a handoff
// that is done. A stage that runs longer, which a drain may do, ends in its span where it is then, and is marked.
const Patience = time.Minute

// every is how often the records are looked at. A record is exported that is the same twice.
const every = time.Second

// name is that of the tracer.
const name = "github.com/segue-go/segue/handoff/otel"

// Generation is what is shown: a *handoff.Generation.
type Generation interface {
	History() []timeline.Handoff
}

// Exporter exports the handoffs of one generation. Its methods may be called from any goroutine.
type Exporter struct {
	g      Generation
	tracer trace.Tracer
	stop   func()        // ends run
	done   chan struct{} // closed when run has returned

	waiting map[string]*waiting // by ID; of run alone
	told    map[string]bool     // exported; likewise
}

// waiting is a handoff that this process exports and has not exported yet.
type waiting struct {
	last    timeline.Handoff // as it was last seen
	settled time.Time        // Patience began; zero: not yet
}

// New exports the handoffs of g in which its process has a part to the tracers of p, from now on and those before, until
// [Exporter.Shutdown], which must be called. It is called once for a generation, after handoff.Join and on both sides. A nil p drops all spans.
func New(g Generation, p trace.TracerProvider) *Exporter {
	if p == nil {
		p = noop.NewTracerProvider()
	}
	stopped := make(chan struct{})
	e := &Exporter{
		g: g, tracer: p.Tracer(name), stop: sync.OnceFunc(func() { close(stopped) }), done: make(chan struct{}),
		waiting: make(map[string]*waiting), told: make(map[string]bool),
	}
	go e.run(stopped)
	return e
}

// Shutdown exports what is known by now and was not exported yet, and ends the exporter. It is called when the generation has
// ended (serve.Run has returned, or Wait and Close have), and before the provider's Shutdown, which sends the spans. A handoff that is
// done and can still be undone counts as done then. ctx bounds the call; if it ends first, the exporter still ends when the
// span processors of the provider let it, and the error says so. Shutdown is idempotent.
func (e *Exporter) Shutdown(ctx context.Context) error {
	e.stop()
	select {
	case <-e.done:
		return nil
	default:
	}
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("otel: shutdown: handoffs are still being exported: %w", context.Cause(ctx))
	}
}

func (e *Exporter) run(stopped <-chan struct{}) {
	defer close(e.done)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			e.look(false)
		case <-stopped:
			e.look(true)
			return
		}
	}
}

// look exports what is to be exported now; last: all that is left.
func (e *Exporter) look(last bool) {
	history, now := e.g.History(), time.Now()
	superseded := false // by the newest handoff in which this process is the incumbent, and has ended to be
	known := make(map[string]bool)
	for _, h := range history {
		known[h.ID] = true
		if h.Role == timeline.Incumbent {
			superseded = h.Result == timeline.Done || h.Result == timeline.Left
		}
	}
	for _, h := range history {
		if h.Result == timeline.Running || e.told[h.ID] {
			continue
		}
		if !exports(h) {
			delete(e.waiting, h.ID)
			continue
		}
		w := e.waiting[h.ID]
		if w == nil {
			w = &waiting{}
			e.waiting[h.ID] = w
		}
		if last || w.ripe(h, superseded, now) {
			e.export(h)
		}
	}
	for id, w := range e.waiting { // the history has no room for it any more
		if !known[id] {
			e.export(w.last)
		}
	}
	for id := range e.told {
		if !known[id] {
			delete(e.told, id)
		}
	}
}

func (e *Exporter) export(h timeline.Handoff) {
	delete(e.waiting, h.ID)
	e.told[h.ID] = true
	export(e.tracer, h)
}

// exports reports whether this process exports h, which has a result: the table is in the documentation of the package.
func exports(h timeline.Handoff) bool {
	switch h.Result {
	case timeline.Done:
		return h.Role == timeline.Successor || h.Role == timeline.Incumbent && !slices.Contains(h.Halves, timeline.Successor)
	case timeline.Left:
		return h.Role == timeline.Successor
	case timeline.Orphaned:
		if guard, ok := h.Stage(timeline.StageGuard); ok && h.Duration-(guard.Start+guard.Duration) >= Patience {
			return false
		}
	}
	return h.Role == timeline.Incumbent
}

// ripe reports whether nothing of h is going to change, or that was waited for long enough.
func (w *waiting) ripe(h timeline.Handoff, superseded bool, now time.Time) bool {
	same := reflect.DeepEqual(w.last, h)
	w.last = h
	running := slices.ContainsFunc(h.Stages, func(s timeline.Span) bool { return s.Running })
	guard, guarded := h.Stage(timeline.StageGuard)
	if h.Result == timeline.Done && guard.Running {
		w.settled = time.Time{}
		return false // it may be undone
	}
	if w.settled.IsZero() {
		w.settled = now
	}
	if h.Role == timeline.Incumbent && h.Result == timeline.Done {
		return same && !running // its own drain has a bound
	}
	if superseded && guarded || now.Sub(w.settled) >= Patience {
		return true
	}
	// What the incumbent does after it has confirmed is on its way.
	whole := guarded || h.Result != timeline.Done || !slices.Contains(h.Halves, timeline.Incumbent)
	return same && !running && whole
}
