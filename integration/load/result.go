package load

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// Result is what a load counted. It is the caller's; nothing changes it any more but Excuse.
type Result struct {
	Begun, Ended time.Time
	Seed         uint64
	Kinds        []KindResult // in the order of the constants; only those that had workers

	// Lasting are connections that were to live from the start to the end: those of Idle, if there were any, and what
	// others have appended, so that the table shows it.
	Lasting []Lasting
}

// Lasting says how a number of connections fared that were to live from the start to the end.
type Lasting struct {
	Name        string
	Connections int
	Lost        int // closed without a word, or of no use: a request on it failed
	Reconnects  int // how often a client had to connect anew, because its connection was lost or the server announced its end
	Excused     int // of both, and no longer counted there

	kind bool // what is counted of Idle
}

// updateLasting counts again what Idle has counted.
func (r *Result) updateLasting() {
	for i := range r.Lasting {
		l := &r.Lasting[i]
		for _, k := range r.Kinds {
			if l.kind && k.Kind == Idle {
				l.Lost, l.Reconnects, l.Excused = k.Failed+k.Forced, k.Failed+k.Forced+k.Reconnects, k.Excused
			}
		}
	}
}

// KindResult is what was counted of one kind of traffic.
type KindResult struct {
	Kind Kind
	Counts
	Failures []Failure // the first 10,000 of Failed and Forced
	Pardoned []Failure // those that Excuse took out of Failures

	begun   time.Time
	samples []sample
}

// Counts returns the sums over all kinds.
func (r *Result) Counts() Counts {
	var c Counts
	for _, k := range r.Kinds {
		c.add(k.Counts)
	}
	return c
}

// Failed returns how many requests failed. Forced reconnects are not among them.
func (r *Result) Failed() int { return r.Counts().Failed }

// Forced returns how many connections the server closed without a word while nothing was in flight on them.
func (r *Result) Forced() int { return r.Counts().Forced }

// Failures returns the failures and forced reconnects of all kinds that are not excused, in the order in which they
// were noticed.
func (r *Result) Failures() []Failure {
	var all []Failure
	for _, k := range r.Kinds {
		all = append(all, k.Failures...)
	}
	slices.SortFunc(all, func(a, b Failure) int { return a.At.Compare(b.At) })
	return all
}

// Err returns nil if nothing failed, no reconnect was forced and something was answered, else an error that says how
// much and wraps the first few failures.
func (r *Result) Err() error {
	c := r.Counts()
	if c.Failed == 0 && c.Forced == 0 {
		if c.Requests == 0 {
			return errors.New("load: not one request was sent")
		}
		return nil
	}
	errs := []error{fmt.Errorf("load: %d of %d requests failed, %d reconnects forced (seed %d)",
		c.Failed, c.Requests, c.Forced, r.Seed)}
	for i, f := range r.Failures() {
		if i == 5 {
			errs = append(errs, errors.New("and so on"))
			break
		}
		errs = append(errs, fmt.Errorf("%s %w", clock(f.At.Sub(r.Begun)), f))
	}
	return errors.Join(errs...)
}

// Excuse takes the failures for which match is true out of Failed and Forced, and counts them as excused. It is for
// what a test itself destroyed, such as the connections of a process that it killed. It returns how many they were.
func (r *Result) Excuse(match func(Failure) bool) int {
	n := 0
	for i := range r.Kinds {
		k := &r.Kinds[i]
		n += k.excuse(&k.Failures, &k.Pardoned, match)
	}
	r.updateLasting()
	return n
}

// excuse moves failures to others, and counts them.
func (c *Counts) excuse(from, to *[]Failure, match func(Failure) bool) int {
	n := 0
	*from = slices.DeleteFunc(*from, func(f Failure) bool {
		if !match(f) {
			return false
		}
		n++
		*to = append(*to, f)
		c.Excused++
		if f.Forced {
			c.Forced--
		} else {
			c.Failed--
		}
		return true
	})
	return n
}

// Sample is one request that was answered rightly.
type Sample struct {
	Start, End time.Time
	Latency    time.Duration // without what a slow request or upload was meant to take
	PID        int           // who answered, by X-Segue-Pid; 0 is unknown
	Worker     int           // who asked: the number of a client of the kind, from 0
}

// Samples returns the requests that were answered rightly, in the order of their ends.
func (k *KindResult) Samples() iter.Seq[Sample] {
	return func(yield func(Sample) bool) {
		for _, s := range k.samples {
			if !yield(Sample{k.begun.Add(s.start), k.begun.Add(s.end), s.latency, int(s.pid), int(s.worker)}) {
				return
			}
		}
	}
}

// Latencies are quantiles of latencies. Those of slow requests and uploads are without what was asked for.
type Latencies struct {
	N             int
	P50, P99, Max time.Duration
}

// Latencies returns the quantiles over all requests that were answered rightly.
func (k *KindResult) Latencies() Latencies {
	return latencies(k.samples, func(sample) bool { return true })
}

// Near returns the quantiles over those requests that were in flight at any time from within before to within after
// one of the events.
func (k *KindResult) Near(events []time.Time, within time.Duration) Latencies {
	at := make([]time.Duration, len(events))
	for i, e := range events {
		at[i] = e.Sub(k.begun)
	}
	slices.Sort(at)
	return latencies(k.samples, func(s sample) bool {
		// The first event that is not too early is the only one to look at.
		i, _ := slices.BinarySearch(at, s.start-within)
		return i < len(at) && at[i] <= s.end+within
	})
}

func latencies(samples []sample, match func(sample) bool) Latencies {
	var d []time.Duration
	for _, s := range samples {
		if match(s) {
			d = append(d, s.latency)
		}
	}
	if len(d) == 0 {
		return Latencies{}
	}
	slices.Sort(d)
	rank := func(percent int) time.Duration { return d[(len(d)*percent+99)/100-1] } // nearest rank
	return Latencies{N: len(d), P50: rank(50), P99: rank(99), Max: d[len(d)-1]}
}
