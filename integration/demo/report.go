package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segue-go/segue/integration/load"
)

const (
	// near is what counts as near an upgrade.
	near = 200 * time.Millisecond
	// shown is how many failures, and how many problems, are printed.
	shown = 12
	// lag is how much later than a process's death, as its parent learns of it, clients may notice, and how much earlier.
	lag = 250 * time.Millisecond
	// uploadLag is how much later yet: the first write after a FIN succeeds, and only the second fails. There are up to 150 ms
	// between two pieces of an upload (load.Options.UploadFor).
	uploadLag = 2 * 150 * time.Millisecond
)

// report prints what came of it, and returns errFailed if that is not good.
func (d *demo) report() error {
	var failures []load.Failure
	if d.result != nil {
		excusedOfWatcher := d.excuse()
		failures = d.result.Failures()
		failures = append(failures, d.watch.failures...)
		d.checkOrder()
		d.result.Lasting = append(d.result.Lasting, load.Lasting{Name: "chat users", Connections: chatUsers,
			Lost: d.talk.Dropped, Reconnects: d.talk.Reconnects})
		d.checkLasting()
		failures = append(failures, d.talk.Failures...)
		d.checkTalk()

		fmt.Fprintln(d.out)
		var upgrades []time.Time
		for _, e := range d.events {
			if e.upgrade {
				upgrades = append(upgrades, e.at)
			}
		}
		if err := d.result.WriteTable(d.out, upgrades, near, "an upgrade"); err != nil {
			return err
		}
		if err := d.talk.WriteTable(d.out); err != nil {
			return err
		}
		d.footnotes(excusedOfWatcher)
	}
	fmt.Fprintln(d.out)
	elapsed := d.ended.Sub(d.begun).Seconds()
	if len(failures) == 0 && len(d.problems) == 0 {
		fmt.Fprintf(d.out, "PASS: nothing lost in %d upgrades of each server and 3 that failed as they should (%.0f s, seed %d)\n",
			len(d.http.chain)-1, elapsed, d.o.seed)
		return nil
	}
	fmt.Fprintf(d.out, "FAIL: %d failures of requests, connections and lines, %d other problems (%.0f s, seed %d)\n",
		len(failures), len(d.problems), elapsed, d.o.seed)
	d.explain(failures)
	return errFailed
}

// excuse counts apart what successors that died had themselves accepted. It returns how many of the watcher's requests
// were among them.
func (d *demo) excuse() int {
	d.result.Excuse(d.diedWith)
	before := len(d.watch.failures)
	d.watch.failures = slices.DeleteFunc(d.watch.failures, d.diedWith)
	return before - len(d.watch.failures)
}

// diedWith reports whether a failure is that of a connection which a dead successor had accepted: either it had
// answered on it; or nobody had, connecting began at the earliest when nobody can have been sure any more that the old
// owner would accept it, and it broke in the moment of the death. A refused connection, a timeout, a wrong answer, or a
// connection on which another process had answered is never excused.
func (d *demo) diedWith(f load.Failure) bool {
	return f.Dropped() && slices.ContainsFunc(d.deaths.all(), func(x death) bool {
		until := x.at.Add(lag)
		if f.Kind == load.Upload && f.Op == "send" {
			until = until.Add(uploadLag)
		}
		if f.At.Before(x.at.Add(-lag)) || f.At.After(until) {
			return false
		}
		return f.PID == x.pid || f.PID == 0 && f.Answered == 0 && !f.Dialed.Before(x.after) && f.Dialed.Before(x.at)
	})
}

// checkOrder looks for two owners at a time in what clients on new connections were answered.
func (d *demo) checkOrder() {
	var samples []load.Sample
	for _, k := range d.result.Kinds {
		if k.Kind == load.New {
			samples = slices.AppendSeq(samples, k.Samples())
		}
	}
	if wrong := twoOwners(samples, d.http.chain); len(wrong) > 0 {
		d.problem("two owners: %d new connections were accepted by a process after a successor of it had already answered"+
			" others; the first by process %d, %s", len(wrong), wrong[0].PID, d.relative(wrong[0].Start))
	}
}

// checkLasting looks for connections that did not live through everything.
func (d *demo) checkLasting() {
	for _, l := range d.result.Lasting {
		if l.Lost > 0 || l.Reconnects > 0 {
			d.problem("of %d connections that were to stay (%s) %d were lost; there were %d reconnects", l.Connections, l.Name,
				l.Lost, l.Reconnects)
		}
	}
	for _, k := range d.result.Kinds {
		if k.Kind != load.Idle && k.Reconnects > 0 {
			d.problem("%d times the server told a client on a kept connection to leave (%s)", k.Reconnects, k.Kind)
		}
	}
}

// twoOwners returns the samples, each of a connection of its own, that a process accepted although a later one of the
// chain had answered another before connecting began. A process that is not in the chain, such as one that died after
// commit, is left out: after its death its predecessor is right to accept.
func twoOwners(samples []load.Sample, chain []int) []load.Sample {
	samples = slices.DeleteFunc(slices.Clone(samples), func(s load.Sample) bool { return !slices.Contains(chain, s.PID) })
	slices.SortFunc(samples, func(a, b load.Sample) int { return a.End.Compare(b.End) })
	highest := make([]int, len(samples)+1) // place in the chain among the first n samples
	for i, s := range samples {
		highest[i+1] = max(highest[i], slices.Index(chain, s.PID))
	}
	return slices.DeleteFunc(slices.Clone(samples), func(s load.Sample) bool {
		n, _ := slices.BinarySearchFunc(samples, s.Start, func(e load.Sample, t time.Time) int { return e.End.Compare(t) })
		return highest[n] <= slices.Index(chain, s.PID)
	})
}

// footnotes explain the table.
func (d *demo) footnotes(excusedOfWatcher int) {
	fmt.Fprintln(d.out)
	fmt.Fprintln(d.out, "Latencies of slow requests and uploads are without the time that they were meant to take.")
	for _, x := range d.deaths.all() {
		if d.result.Counts().Excused+excusedOfWatcher == 0 {
			fmt.Fprintf(d.out, "Nobody noticed that process %d died after commit.\n", x.pid)
			continue
		}
		fmt.Fprintf(d.out, "Excused is what process %d had accepted before it died after commit", x.pid)
		if excusedOfWatcher > 0 {
			fmt.Fprintf(d.out, "; so is what the demo itself asked it (%d GET /pid)", excusedOfWatcher)
		}
		fmt.Fprintln(d.out, ".")
	}
	d.footnotesOfChat()
	if len(d.took) > 0 {
		fmt.Fprintf(d.out, "From the signal or start to the successor's first answer: %s to %s.\n",
			slices.Min(d.took).Round(time.Millisecond), slices.Max(d.took).Round(time.Millisecond))
	}
}

// explain says what went wrong: first how much of what, then the first cases with all that is known.
func (d *demo) explain(failures []load.Failure) {
	for i, p := range d.problems {
		if i == shown {
			fmt.Fprintf(d.out, "  and %d more problems\n", len(d.problems)-i)
			break
		}
		fmt.Fprintf(d.out, "  problem: %s\n", p)
	}
	slices.SortFunc(failures, func(a, b load.Failure) int { return a.At.Compare(b.At) })

	type group struct {
		n     int
		text  string
		first load.Failure
	}
	var groups []group
	for _, f := range failures {
		text := fmt.Sprintf("%s: %s: %v, %s", f.Kind, f.Op, cause(f.Err), d.nearest(f.At).what)
		i := slices.IndexFunc(groups, func(g group) bool { return g.text == text })
		if i < 0 {
			i = len(groups)
			groups = append(groups, group{text: text, first: f})
		}
		groups[i].n++
	}
	if len(groups) > 0 {
		fmt.Fprintln(d.out, "How many of each sort, in the order of their first:")
	}
	for i, g := range groups {
		if i == shown {
			fmt.Fprintf(d.out, "  and %d more sorts of failures\n", len(groups)-i)
			break
		}
		fmt.Fprintf(d.out, "%6d × %s\n", g.n, g.text)
	}
	if len(groups) > 0 {
		fmt.Fprintln(d.out, "The first of each:")
	}
	for _, g := range groups[:min(len(groups), shown)] {
		f := g.first
		fmt.Fprintf(d.out, "  %s  %s:\n      %v\n", f.At.Format("15:04:05.000"), d.relative(f.At), f)
	}
}

// nearest returns the event that is nearest to a time.
func (d *demo) nearest(t time.Time) event {
	best := event{at: d.begun, what: "the start of the demo"}
	for _, e := range d.events {
		if t.Sub(e.at).Abs() < t.Sub(best.at).Abs() {
			best = e
		}
	}
	return best
}

// relative says when something was, seen from the nearest event.
func (d *demo) relative(t time.Time) string {
	e := d.nearest(t)
	after := t.Sub(e.at)
	word := "after"
	if after < 0 {
		word = "before"
	}
	return fmt.Sprintf("%.3f s %s %s", after.Abs().Seconds(), word, e.what)
}

// cause returns the innermost error, so that failures which differ in a port number only are counted together.
func cause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
