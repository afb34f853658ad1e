package load

import (
	"slices"
	"sync"
	"time"
)

// maxFailures bounds how many failures of a kind are kept with their details. All are counted.
const maxFailures = 10_000

// Counts are numbers of things that happened.
type Counts struct {
	Requests   int // sent, or tried to be
	Failed     int // of them: not answered, not in time, or wrongly
	Forced     int // idle connections that the server closed without a word
	Reconnects int // connections that the server closed after announcing it in an answer
	Excused    int // of Failed and Forced, and no longer counted there: see Result.Excuse
}

func (c *Counts) add(d Counts) {
	c.Requests += d.Requests
	c.Failed += d.Failed
	c.Forced += d.Forced
	c.Reconnects += d.Reconnects
	c.Excused += d.Excused
}

// sample is one request that was answered rightly. There are hundreds of thousands of them.
type sample struct {
	start, end time.Duration // since the load began
	latency    time.Duration // less than end-start if some of that was asked for
	pid        int32
	worker     int32
}

// recorder counts for one kind of traffic.
type recorder struct {
	begun time.Time

	mu       sync.Mutex
	counts   Counts
	samples  []sample
	failures []Failure
	pardoned []Failure
}

func (r *recorder) ok(worker int, start, end time.Time, latency time.Duration, pid int, polite bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Requests++
	if polite {
		r.counts.Reconnects++
	}
	r.samples = append(r.samples, sample{start.Sub(r.begun), end.Sub(r.begun), latency, int32(pid), int32(worker)})
}

func (r *recorder) fail(f Failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.Forced {
		r.counts.Forced++
	} else {
		if f.Op != "idle" {
			r.counts.Requests++
		}
		r.counts.Failed++
	}
	if len(r.failures) < maxFailures {
		r.failures = append(r.failures, f)
	}
}

func (r *recorder) excuse(match func(Failure) bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts.excuse(&r.failures, &r.pardoned, match)
}

func (r *recorder) read() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

func (r *recorder) result(k Kind) KindResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	return KindResult{Kind: k, Counts: r.counts, Failures: slices.Clone(r.failures),
		Pardoned: slices.Clone(r.pardoned), begun: r.begun, samples: slices.Clone(r.samples)}
}
