package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/segue-go/segue/handoff/timeline"
)

// Generation is what is shown: a *handoff.Generation.
type Generation interface {
	Counters() timeline.Counters
	Chain() timeline.Chain
}

// New returns a collector that shows g. It may be registered in any registry, with or without labels of one's own
// (prometheus.WrapRegistererWith); in one process for each generation. A collection takes no lock that an upgrade waits for.
func New(g Generation) prometheus.Collector { return collector{g} }

type collector struct{ g Generation }

// other stands for a word that is not known.
const other = "other"

var (
	handoffs = prometheus.NewDesc("segue_handoffs_total",
		"Handoffs since the chain began, by the role of the process that counted and by what became of them.", []string{"role", "result"}, nil)
	undone = prometheus.NewDesc("segue_handoffs_undone_total",
		"Handoffs whose successor had owned the sockets and does not any more: rollbacks and revivals.", []string{"result", "reason"}, nil)
	stages = prometheus.NewDesc("segue_handoff_stage_duration_seconds",
		"How long the stages of handoffs took.", []string{"stage"}, nil)
	gap = prometheus.NewDesc("segue_handoff_accept_gap_seconds",
		"How long nobody accepted during a handoff.", nil, nil)
	sockets = prometheus.NewDesc("segue_sockets_moved_total",
		"Sockets and files that were handed over.", []string{"kind", "transport"}, nil)
	conns = prometheus.NewDesc("segue_connections_moved_total",
		"Live connections that were handed over.", []string{"kind", "transport"}, nil)
	success = prometheus.NewDesc("segue_handoff_last_success_timestamp_seconds",
		"When a successor last confirmed, in seconds since the epoch; 0 if none has.", nil, nil)
	generation = prometheus.NewDesc("segue_generation",
		"The number of the generation that serves.", nil, nil)
	generations = prometheus.NewDesc("segue_generations",
		"Generations that are alive, by phase: this one and older ones that it knows of.", []string{"phase"}, nil)
	connections = prometheus.NewDesc("segue_connections",
		"Tracked connections by what they do; draining are those left in older generations.", []string{"state"}, nil)
	descriptors = prometheus.NewDesc("segue_descriptors",
		"Open descriptors of this process.", nil, nil)
	descriptorsLimit = prometheus.NewDesc("segue_descriptors_limit",
		"Most descriptors that this process may have (RLIMIT_NOFILE).", nil, nil)
)

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{handoffs, undone, stages, gap, sockets, conns, success, generation, generations,
		connections, descriptors, descriptorsLimit} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	chain := c.g.Chain()
	if len(chain.Generations) == 0 || !reports(chain.Generations[0].Phase) {
		return
	}
	counters(ch, c.g.Counters())
	now(ch, chain)
	collectDescriptors(ch)
}

// reports says whether a generation in this phase shows anything. One that does not own yet does not: its chain is shown by the
// one that serves. One that was superseded does: Prometheus may still ask it on a kept connection, before that has moved, and
// its counters are behind those of its successor, which Prometheus asks afterwards.
func reports(p timeline.Phase) bool {
	return p != timeline.PhaseStarting && p != timeline.PhaseStopped
}

// known returns word, or other, if it is none of words.
func known[T ~string](words []T, word T) string {
	if slices.Contains(words, word) {
		return string(word)
	}
	return other
}

// tally adds up what is counted for pairs of labels.
type tally map[[2]string]float64

func (t tally) send(ch chan<- prometheus.Metric, d *prometheus.Desc, since time.Time) {
	for labels, n := range t {
		ch <- prometheus.MustNewConstMetricWithCreatedTimestamp(d, prometheus.CounterValue, n, since, labels[:]...)
	}
}

// start sets each pair to 0.
func start[A, B ~string](as []A, bs []B) tally {
	t := tally{}
	for _, a := range as {
		for _, b := range bs {
			t[[2]string{string(a), string(b)}] = 0
		}
	}
	return t
}

var (
	roles      = []timeline.Role{timeline.Incumbent, timeline.Successor}
	transports = []timeline.Transport{timeline.TransportSent, timeline.TransportTaken}
	kinds      = []timeline.Kind{timeline.Listener, timeline.Packet, timeline.File}
	connKinds  = []timeline.ConnKind{timeline.ConnServed, timeline.ConnGiven}
	undoings   = []timeline.Result{timeline.RolledBack, timeline.Revived, timeline.Stale}
	// undoneReasons are why a successor does not own any more. Others are counted as they come.
	undoneReasons = []timeline.Reason{timeline.ReasonDied, timeline.ReasonGaveUp, timeline.ReasonCheck, timeline.ReasonTimeout,
		timeline.ReasonUnresponsive, timeline.ReasonProtocol, timeline.ReasonOther}
	phases = []timeline.Phase{timeline.PhaseStarting, timeline.PhaseProbation, timeline.PhaseServing, timeline.PhaseOffering,
		timeline.PhaseSwitching, timeline.PhaseGuarding, timeline.PhaseDraining}
)

func counters(ch chan<- prometheus.Metric, c timeline.Counters) {
	t := start(roles, timeline.Results())
	for _, h := range c.Handoffs {
		t[[2]string{known(roles, h.Role), known(timeline.Results(), h.Result)}] += float64(h.Count)
	}
	t.send(ch, handoffs, c.Since)

	t = start(undoings, undoneReasons)
	for _, u := range c.Undone {
		t[[2]string{known(undoings, u.Result), known(timeline.Reasons(), u.Reason)}] += float64(u.Count)
	}
	t.send(ch, undone, c.Since)

	t = start(kinds, transports)
	for _, s := range c.Sockets {
		t[[2]string{known(kinds, s.Kind), known(transports, s.Transport)}] += float64(s.Count)
	}
	t.send(ch, sockets, c.Since)

	t = start(connKinds, transports[:1])
	for _, s := range c.Conns {
		t[[2]string{known(connKinds, s.Kind), known(transports, s.Transport)}] += float64(s.Count)
	}
	t.send(ch, conns, c.Since)

	for _, stage := range timeline.Stages() {
		var counted timeline.StageCount // of a stage that was never counted: zero
		if i := slices.IndexFunc(c.Stages, func(s timeline.StageCount) bool { return s.Stage == stage }); i >= 0 {
			counted = c.Stages[i]
		}
		d, labels := stages, []string{string(stage)}
		if stage == timeline.StageGap {
			d, labels = gap, nil
		}
		ch <- prometheus.MustNewConstHistogramWithCreatedTimestamp(d, counted.Count, counted.Sum.Seconds(), buckets(counted), c.Since, labels...)
	}

	last := 0.0
	if !c.LastSuccess.IsZero() {
		last = float64(c.LastSuccess.UnixMilli()) / 1e3
	}
	ch <- prometheus.MustNewConstMetric(success, prometheus.GaugeValue, last)
}

// buckets returns those of s by their upper bounds in seconds.
func buckets(s timeline.StageCount) map[float64]uint64 {
	m := map[float64]uint64{}
	for i, bound := range timeline.Buckets() {
		m[bound.Seconds()] = 0
		if i < len(s.Buckets) {
			m[bound.Seconds()] = s.Buckets[i]
		}
	}
	return m
}

// now shows what is, of this generation and of the older ones.
func now(ch chan<- prometheus.Metric, chain timeline.Chain) {
	gauge := func(d *prometheus.Desc, value int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	newest, left := chain.Generations[0], 0
	inPhase := map[string]int{}
	for i, g := range chain.Generations {
		inPhase[known(phases, g.Phase)]++
		if i > 0 {
			left += g.Conns.Left()
		}
	}
	gauge(generation, newest.Generation)
	for _, p := range phases {
		gauge(generations, inPhase[string(p)], string(p))
	}
	gauge(connections, newest.Conns.Active, string(timeline.ConnActive))
	gauge(connections, newest.Conns.Idle, string(timeline.ConnIdle))
	gauge(connections, newest.Conns.Parked+newest.Conns.Untaken, string(timeline.ConnParked))
	gauge(connections, left, string(timeline.ConnDraining))
}
