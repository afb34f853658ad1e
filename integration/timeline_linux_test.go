package integration

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/timeline"
)

// telling is what a process says of its chain.
type telling struct {
	History  []timeline.Handoff
	Counters timeline.Counters
	Chain    timeline.Chain
}

// tells asks p for that until it is as it should be.
func (w *world) tells(p *proc, should func(telling) bool) (last telling) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		mark := w.mark()
		w.signal(p, unix.SIGUSR2)
		e := w.wait(mark, p.pid, "timeline", "")
		last = telling{}
		text, err := os.ReadFile(e.Msg)
		if err == nil {
			err = json.Unmarshal(text, &last)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		_ = os.Remove(e.Msg)
		if should(last) {
			return last
		}
	}
	w.t.Errorf("pid %d says %v\n%+v", p.pid, last.History, last.Counters)
	return last
}

// TestTimeline: three upgrades, one that fails and one revival. The process that serves tells all of it.
func TestTimeline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	w.conf.Guard, w.conf.Timeline = time.Minute, true
	a := w.serving("tcp")
	b := w.take("upgrade", a, "tcp")
	w.conf.Start = "exit3"
	mark := w.mark()
	w.upgrade(b)
	w.wait(mark, b.pid, "upgrade", "")
	w.conf.Start, w.conf.USR1 = "", "exit4"
	c := w.take("upgrade", b, "tcp")
	w.ended(a)
	mark = w.mark()
	w.signal(c, unix.SIGUSR1)
	w.wait(mark, b.pid, "phase", "serving")
	revived := w.tells(b, func(x telling) bool { return len(x.Counters.Undone) == 1 })
	for _, n := range revived.Counters.Handoffs {
		if n.Result != timeline.Revived {
			t.Errorf("after the revival %+v is not 0", n)
		}
	}
	w.conf.USR1, w.conf.Guard = "", 100*time.Millisecond
	d := w.take("join", b, "tcp")
	e := w.take("upgrade", d, "tcp")
	w.ended(b)
	w.ended(d)

	want := []timeline.Result{timeline.Done, timeline.Failed, timeline.Revived, timeline.Done, timeline.Done}
	x := w.tells(e, func(x telling) bool {
		if len(x.History) != len(want) {
			return false
		}
		last := x.History[len(want)-1]
		drain, ok := last.Stage(timeline.StageDrain)
		return ok && !drain.Running && len(last.Halves) == 2 && len(x.Chain.Generations) == 1
	})
	for i, h := range x.History {
		if h.Result != want[i] {
			t.Errorf("handoff %d is %s, want %s:\n%s", i, h.Result, want[i], h)
		}
	}
	if t.Failed() {
		return
	}
	failed, back := x.History[1], x.History[2]
	if failed.Exit == nil || failed.Exit.Status != 3 || failed.Reason != timeline.ReasonDied || !strings.Contains(failed.Output, "cannot find my configuration") {
		t.Errorf("the failed one:\n%s", failed)
	}
	if back.Exit == nil || back.Exit.Status != 4 || back.From.PID != b.pid || back.To.PID != c.pid {
		t.Errorf("the revival:\n%s", back)
	}
	done := uint64(0)
	for _, n := range x.Counters.Handoffs {
		if n.Role == timeline.Incumbent && n.Result == timeline.Done {
			done += n.Count
		}
	}
	if done != 2 || len(x.Counters.Undone) != 1 || x.Counters.Undone[0].Count != 1 {
		t.Errorf("counted: %+v", x.Counters)
	}
	for _, h := range x.History[3:] {
		if gap, ok := h.Stage(timeline.StageGap); !ok || gap.Running || gap.Duration <= 0 || len(h.Sockets) == 0 || h.Sockets[0].Moved != 1 {
			t.Errorf("a handoff without its gap or sockets:\n%s", h)
		}
	}
	if gen := x.Chain.Generations[0]; gen.PID != e.pid || gen.Phase != timeline.PhaseServing || len(gen.Sockets) != 1 {
		t.Errorf("the chain: %+v", x.Chain)
	}
	if x.History[4].From.PID != d.pid {
		t.Errorf("the last one:\n%s", x.History[4])
	}
}
