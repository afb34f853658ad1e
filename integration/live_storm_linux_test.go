package integration

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/integration/raw"
)

// TestDeathUnderLoad kills and stops successors in the middle of the move while clients ask in all ways. What dies with a
// successor is told so by the end of its connection: no client waits for an answer that nobody will give, none is answered
// wrongly, no request is handled twice, and who is left goes on.
func TestDeathUnderLoad(t *testing.T) {
	for i, fault := range []string{
		"kill sent confirm+1ms", "kill received conns", "kill received conns#2+1ms", "kill sent taken#2", "kill sent taken#3+2ms",
		"kill sent confirm+20ms", "stop received conns", "stop sent taken#3", "stop received conns#2+1ms",
		"kill received conns, counted", "kill sent taken#2, counted",
	} {
		t.Run(strings.ReplaceAll(strings.ReplaceAll(fault, ",", ""), " ", "_"), func(t *testing.T) {
			t.Parallel()
			w := newLive(t, "tcp")
			// With a section of state, requests are held in the gap; they go on where they are answered then.
			fault, w.conf.Counted = strings.CutSuffix(fault, ", counted")
			w.conf.Revival = "keep"
			a := w.firstHTTP()
			// Batches go in the order of accept. The clients are a part of the first one and of the second, so that some are left.
			ks := w.crowd(100, a.pid)
			run := w.asked(raw.Options{Clients: 4})
			busy(t, run, 100)
			ks = append(ks, w.crowd(200, a.pid)...)
			w.conf.Fault = fault
			if strings.HasPrefix(fault, "stop") { // it is found out when the guard would end
				w.conf.StepTimeout = 400 * time.Millisecond
			}
			mark := w.mark()
			b := w.succeed(ways[i%2], a, "http")
			w.conf.Fault = ""
			w.wait(mark, b.pid, "fault", "")
			if strings.HasPrefix(fault, "stop") {
				w.stopped(b)
				run.Upgraded()
				// The incumbent was started with the longer time, which bounds its wait for a sign of life.
				w.await(mark, "the end of the guard", of(a.pid, "sent", "ping"))
				w.signal(b, unix.SIGKILL)
			}
			w.ended(b)
			w.wait(mark, a.pid, "log", "this generation serves again")
			run.Upgraded()
			busy(t, run, 200)
			w.goesOn(t, run, ks, a, ways[(i+1)%2])
		})
	}
}

// goesOn upgrades once more, and judges what clients have seen of a successor's death.
func (w *world) goesOn(t *testing.T, run *raw.Run, ks []*lane, a *proc, way string) {
	t.Helper()
	c := w.take(way, a, "http")
	run.Upgraded()
	busy(t, run, 100)
	w.ended(a)
	got := count(t, ks)
	if got.by[c.pid]+got.dropped != len(ks) {
		t.Errorf("of %d idle connections: %+v, told to leave %v, dropped %d", len(ks), got.by, got.leaving, got.dropped)
	}
	run.Stop()
	res := run.Wait()
	gone := 0
	for _, f := range res.Failures() {
		if f.Dropped() {
			gone++
			continue
		}
		t.Error(f)
	}
	w.handledOnce(res)
	for _, m := range res.Modes {
		if n := m.Clients - len(m.Failures); m.Last[c.pid] != n {
			t.Errorf("%s: of %d clients that are left the last process, %d, has answered the last request of %d: %v", m.Mode,
				n, c.pid, m.Last[c.pid], m.Last)
		}
	}
	t.Logf("with the successor went %d of %d connections on which was asked, and %d of %d idle ones", gone,
		4*len(res.Modes), got.dropped, len(ks))
}
