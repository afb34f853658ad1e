package metrics

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/segue-go/segue/handoff/timeline"
)

// chainOf is a generation that says what a test has it say.
type chainOf struct {
	counters timeline.Counters
	chain    timeline.Chain
}

func (c *chainOf) Counters() timeline.Counters { return c.counters }
func (c *chainOf) Chain() timeline.Chain       { return c.chain }

func serving(gens ...timeline.Generation) timeline.Chain {
	return timeline.Chain{Version: timeline.Version, Generations: gens}
}

func TestCollect(t *testing.T) {
	buckets := make([]uint64, len(timeline.Buckets()))
	for i := range buckets {
		if buckets[i] = 3; i < 2 {
			buckets[i] = uint64(i)
		}
	}
	c := &chainOf{
		counters: timeline.Counters{
			Handoffs: []timeline.HandoffCount{
				{Role: timeline.Incumbent, Result: timeline.Done, Count: 7},
				{Role: timeline.Incumbent, Result: timeline.Failed, Reason: timeline.ReasonDied, Count: 2},
				{Role: timeline.Incumbent, Result: timeline.Failed, Reason: timeline.ReasonStart, Count: 3},
				{Role: "bystander", Result: "exploded", Count: 1},
			},
			Undone:      []timeline.UndoneCount{{Result: timeline.Revived, Reason: timeline.ReasonDied, Count: 4}},
			Stages:      []timeline.StageCount{{Stage: timeline.StageGap, Count: 3, Sum: 1500 * time.Microsecond, Buckets: buckets}},
			Sockets:     []timeline.SocketCount{{Kind: timeline.Packet, Transport: timeline.TransportTaken, Count: 5}},
			Conns:       []timeline.ConnCount{{Kind: timeline.ConnServed, Transport: timeline.TransportSent, Count: 18000}},
			LastSuccess: time.UnixMilli(1_700_000_000_500),
		},
		chain: serving(
			timeline.Generation{Generation: 9, Phase: timeline.PhaseServing, Conns: timeline.ConnsNow{Active: 1, Idle: 2, Parked: 3, Untaken: 4}},
			timeline.Generation{Generation: 8, Phase: timeline.PhaseDraining, Conns: timeline.ConnsNow{Active: 5}},
			timeline.Generation{Generation: 7, Phase: timeline.PhaseDraining, Conns: timeline.ConnsNow{Idle: 6}},
		),
	}
	const want = `
segue_connections{state="active"} 1
segue_connections{state="draining"} 11
segue_connections{state="idle"} 2
segue_connections{state="parked"} 7
segue_connections_moved_total{kind="given",transport="sent"} 0
segue_connections_moved_total{kind="served",transport="sent"} 18000
segue_generation 9
segue_generations{phase="draining"} 2
segue_generations{phase="guarding"} 0
segue_generations{phase="serving"} 1
segue_handoff_accept_gap_seconds_bucket{le="0.0001"} 0
segue_handoff_accept_gap_seconds_bucket{le="0.00025"} 1
segue_handoff_accept_gap_seconds_bucket{le="0.0005"} 3
segue_handoff_accept_gap_seconds_count 3
segue_handoff_accept_gap_seconds_sum 0.0015
segue_handoff_last_success_timestamp_seconds 1.7000000005e+09
segue_handoff_stage_duration_seconds_count{stage="warmup"} 0
segue_handoffs_total{result="done",role="incumbent"} 7
segue_handoffs_total{result="done",role="successor"} 0
segue_handoffs_total{result="failed",role="incumbent"} 5
segue_handoffs_total{result="other",role="other"} 1
segue_handoffs_undone_total{reason="died",result="revived"} 4
segue_handoffs_undone_total{reason="died",result="rolledback"} 0
segue_sockets_moved_total{kind="listener",transport="sent"} 0
segue_sockets_moved_total{kind="packet",transport="taken"} 5
`
	got := page(t, c)
	for line := range strings.Lines(strings.TrimLeft(want, "\n")) {
		if !strings.Contains(got, "\n"+line) {
			t.Errorf("this is missing: %s", line)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

// page is what Prometheus reads.
func page(t *testing.T, g Generation) string {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(New(g))
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).
		ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	return w.Body.String()
}

// Each series is there before anything happens, so that increase() sees the first event.
func TestEverySeriesFromTheStart(t *testing.T) {
	before := series(t, &chainOf{chain: serving(timeline.Generation{Phase: timeline.PhaseServing})})
	c := &chainOf{chain: serving(timeline.Generation{Phase: timeline.PhaseServing})}
	for _, r := range roles {
		for _, result := range timeline.Results() {
			c.counters.Handoffs = append(c.counters.Handoffs, timeline.HandoffCount{Role: r, Result: result, Reason: timeline.ReasonOther, Count: 1})
		}
	}
	for _, s := range timeline.Stages() {
		c.counters.Stages = append(c.counters.Stages, timeline.StageCount{Stage: s, Count: 1})
	}
	for _, u := range undoings {
		c.counters.Undone = append(c.counters.Undone, timeline.UndoneCount{Result: u, Reason: timeline.ReasonDied, Count: 1})
	}
	for _, k := range kinds {
		c.counters.Sockets = append(c.counters.Sockets, timeline.SocketCount{Kind: k, Transport: timeline.TransportTaken, Count: 1})
	}
	for _, k := range connKinds {
		c.counters.Conns = append(c.counters.Conns, timeline.ConnCount{Kind: k, Transport: timeline.TransportSent, Count: 1})
	}
	after := series(t, c)
	for name := range after {
		if _, ok := before[name]; !ok {
			t.Errorf("%s appears with its first event", name)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d series before, %d after", len(before), len(after))
	}
}

func series(t *testing.T, g Generation) map[string]string {
	t.Helper()
	m := map[string]string{}
	for line := range strings.Lines(page(t, g)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && !strings.HasPrefix(line, "#") {
			m[name] = value
		}
	}
	return m
}

// A superseded generation is still asked on kept connections; one that does not own yet has nothing to say.
func TestWhoReports(t *testing.T) {
	for phase, want := range map[timeline.Phase]bool{
		timeline.PhaseStarting: false, timeline.PhaseProbation: true, timeline.PhaseServing: true, timeline.PhaseOffering: true,
		timeline.PhaseSwitching: true, timeline.PhaseGuarding: true, timeline.PhaseDraining: true, timeline.PhaseStopped: false,
	} {
		got := len(series(t, &chainOf{chain: serving(timeline.Generation{Phase: phase})})) > 0
		if got != want {
			t.Errorf("%s: reports is %v", phase, got)
		}
	}
	if n := len(series(t, &chainOf{})); n != 0 {
		t.Errorf("%d series of a chain without a generation", n)
	}
}

// The linter of promtool check metrics finds nothing.
func TestLint(t *testing.T) {
	problems, err := testutil.CollectAndLint(New(&chainOf{chain: serving(timeline.Generation{Phase: timeline.PhaseServing})}))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// The page of the package names each metric, and no other.
func TestDocNamesMetrics(t *testing.T) {
	got := map[string]bool{}
	ch := make(chan *prometheus.Desc, 100)
	New(nil).Describe(ch)
	close(ch)
	for d := range ch {
		_, rest, _ := strings.Cut(d.String(), `fqName: "`)
		name, _, _ := strings.Cut(rest, `"`)
		got[name] = true
	}
	named := map[string]bool{}
	for _, word := range strings.FieldsFunc(packageDoc(t), func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
		if strings.HasPrefix(word, "segue_") {
			named[word] = true
		}
	}
	if !maps.Equal(got, named) {
		t.Errorf("Describe has %v, doc.go %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(named)))
	}
}
