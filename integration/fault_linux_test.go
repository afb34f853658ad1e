package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// outcome is what becomes of an upgrade in which one side was hit.
type outcome int

const (
	kept    outcome = iota // the incumbent serves on; the successor never accepted anything
	revived                // the incumbent serves again; the successor may have accepted something
	moved                  // the successor serves
	gone                   // nobody serves: the successor had taken over for good, and died later
	failed                 // nobody serves: the incumbent died, and the successor says so
	fresh                  // the incumbent died, and the successor became the first of a new chain
	either                 // moved, if the successor was quick to take the descriptors (pidfd_getfd), else failed
)

// arrow is one message as one side sees it, and what is to become of the upgrade if this side is killed there, or
// stopped there until the other side has given up. If it is continued before, the successor serves.
type arrow struct {
	at         string
	kill, stop outcome
}

// Of the successor: until it has the token, its failure is as if it had never been started. From then on the incumbent
// takes the sockets back, until it knows by PONG that its guard may end.
var atSuccessor = []arrow{
	{"sent hello", kept, kept},
	{"received welcome", kept, kept},
	{"received offer", kept, kept},
	{"sent taken", kept, kept},
	{"sent prepared", kept, kept},
	{"received commit", kept, kept},
	{"sent owned", revived, revived},
	{"sent confirm", revived, revived},
	{"received ping", revived, revived},
	{"sent pong", gone, moved},
	{"received bye", gone, moved},
}

// Of the incumbent: from the moment when the successor holds all sockets, nothing that the incumbent suffers keeps
// them from being served.
var atIncumbent = []arrow{
	{"received hello", failed, kept},
	{"sent welcome", failed, kept},
	{"sent offer", either, kept},
	{"received taken", moved, kept},
	{"received prepared", moved, kept},
	{"sent commit", moved, moved},
	{"received owned", moved, moved},
	{"received confirm", moved, moved},
	{"sent ping", moved, moved},
	{"received pong", moved, moved},
	{"sent bye", moved, moved},
}

// faultCase is one process hit at one arrow.
type faultCase struct {
	side, way, action, at string
	late                  bool // continued only when the other side has given up
	want                  outcome
	transport             string // "" is automatic
	kernel                string // conf.Kernel
}

func (c faultCase) name() string {
	action := c.action
	if action == "stop" {
		action = map[bool]string{false: "pause", true: "stop"}[c.late]
	}
	return strings.ReplaceAll(fmt.Sprintf("%s/%s/%s/%s", c.side, c.way, action, c.at), " ", "_")
}

// TestFaults hits each side at each message, in both ways of starting a successor.
func TestFaults(t *testing.T) { testFaults(t, "") }

// TestFaultsOld does the same where messages do not say who sends by a pidfd, as before Linux 6.5.
func TestFaultsOld(t *testing.T) { testFaults(t, "old") }

func testFaults(t *testing.T, kernel string) {
	var cases []faultCase
	for side, arrows := range map[string][]arrow{"successor": atSuccessor, "incumbent": atIncumbent} {
		for _, a := range arrows {
			for _, way := range []string{"upgrade", "join"} {
				kill := a.kill
				if side == "incumbent" && a.at == "received hello" && way == "join" {
					kill = fresh // it has heard nothing from anybody, and starts as if nobody had been there
				}
				if kernel == "old" && side == "incumbent" && a.at == "received taken" && way == "join" {
					kill = failed // it has offered nothing yet: this TAKEN proves who the caller is
				}
				cases = append(cases,
					faultCase{side, way, "kill", a.at, false, kill, "", kernel},
					faultCase{side, way, "stop", a.at, false, moved, "", kernel},
					faultCase{side, way, "stop", a.at, true, a.stop, "", kernel})
			}
		}
	}
	slices.SortFunc(cases, func(a, b faultCase) int { return strings.Compare(a.name(), b.name()) })
	for _, c := range cases {
		t.Run(c.name(), func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

func (c faultCase) run(t *testing.T) {
	w := newWorld(t, "tcp")
	w.conf.Transport, w.conf.Kernel = c.transport, c.kernel
	if c.late {
		w.conf.StepTimeout, w.conf.ReadyTimeout = 400*time.Millisecond, 2*time.Second
	}
	fault := c.action + " " + c.at
	if c.side == "incumbent" {
		w.conf.Fault = fault
	}
	w.conf.Traced = true
	a := w.serving("tcp")
	vs := come(t, w.addr, 3)
	vs.answered(t, a.pid)

	w.conf.Fault = ""
	if c.side == "successor" {
		w.conf.Fault = fault
	}
	mark := w.mark()
	b := w.succeed(c.way, a, "tcp")
	w.conf.Fault = ""
	hit, other := a, b
	if c.side == "successor" {
		hit, other = b, a
	}
	struck := w.wait(mark, hit.pid, "fault", "")
	if c.action == "stop" {
		w.stopped(hit)
		if c.late {
			c.givenUp(w, mark, other)
		}
		_ = unix.Kill(hit.pid, unix.SIGCONT) // the one that took back may have killed it
	}
	if c.action == "kill" && c.at == "sent pong" {
		// Whether the incumbent sees the PONG before the death, and lets go, or both at once, and takes back, is up to the
		// scheduler.
		e := w.await(mark, "the end of the guard", func(e event) bool {
			return e.PID == a.pid && e.Ev == "log" && (e.Msg == "this generation serves again" || strings.HasPrefix(e.Msg, "released"))
		})
		if e.Msg == "this generation serves again" {
			c.want = revived
		}
	}
	if c.want == either {
		e := w.await(mark, "the successor's Ready or error", func(e event) bool {
			return e.PID == b.pid && (e.Ev == "ready" || e.Ev == "join" && e.Err != "")
		})
		c.want = map[bool]outcome{true: moved, false: failed}[e.Ev == "ready" && e.Err == ""]
	}
	owner := c.settle(t, w, mark, a, b, vs)
	all := vs.leave()
	c.judge(t, all, a, b, time.Unix(0, struck.At))
	c.goOn(t, w, owner)
}

// givenUp waits until whoever is not stopped has drawn its conclusion.
func (c faultCase) givenUp(w *world, mark int, other *proc) {
	w.t.Helper()
	switch {
	case c.side == "incumbent":
		// The successor is ready, or fails in Join or Ready. Either way it has no timer left.
		w.await(mark, "the end of the successor's Ready or Join", func(e event) bool {
			return e.PID == other.pid && (e.Ev == "ready" || e.Ev == "join" && e.Err != "")
		})
		// The incumbent's own timers expire while it is stopped, which is the point of this case.
		time.Sleep(w.conf.Guard + w.conf.StepTimeout)
	case c.want == moved: // the incumbent has nothing more to do
		w.ended(other)
	default:
		// The moment in which it serves again is the one in which two could: one that fenced nobody is found out.
		w.await(mark, "the incumbent serves again", of(other.pid, "phase", "serving"))
	}
}

// settle waits until the upgrade has come to its end, and returns who owns then; nil is nobody.
func (c faultCase) settle(t *testing.T, w *world, mark int, a, b *proc, vs *visits) *proc {
	t.Helper()
	switch c.want {
	case kept, revived:
		if c.way == "upgrade" && (c.want == kept || strings.Contains(c.at, "owned")) {
			e := w.wait(mark, a.pid, "upgrade", "")
			if e.Err == "" {
				t.Errorf("Upgrade did not fail")
			}
		}
		if c.side == "incumbent" || c.late || c.action == "kill" {
			w.ended(b)
		}
		if c.side == "incumbent" {
			c.complained(t, w, mark, b)
		}
		if c.side == "successor" && c.action == "kill" && c.want == revived {
			w.wait(mark, a.pid, "log", "this generation serves again")
		}
		vs.answered(t, a.pid)
		return a
	case moved:
		if e := w.wait(mark, b.pid, "ready", ""); e.Err != "" {
			t.Errorf("Ready of the successor: %s", e.Err)
		}
		vs.answered(t, b.pid)
		w.ended(a)
		return b
	case fresh:
		if e := w.wait(mark, b.pid, "ready", ""); e.Err != "" {
			t.Errorf("Ready of the successor: %s", e.Err)
		}
		vs.answered(t, b.pid)
		return b
	case failed:
		w.ended(b)
		c.complained(t, w, mark, b)
	case gone:
		w.ended(a)
	}
	return nil
}

// complained checks that a successor that did not take over says that it was the other side's fault.
func (c faultCase) complained(t *testing.T, w *world, mark int, b *proc) {
	t.Helper()
	e := w.await(mark, "the successor's error", func(e event) bool {
		return e.PID == b.pid && (e.Ev == "join" || e.Ev == "ready") && e.Err != ""
	})
	if c.action == "kill" && !strings.Contains(e.Is, "died") && !strings.Contains(e.Err, "incumbent") {
		t.Errorf("the successor does not say that the incumbent died: %q", e.Err)
	}
	if c.action == "stop" && !strings.Contains(e.Is, "timeout") && !strings.Contains(e.Is, "aborted") {
		t.Errorf("the successor does not say that the incumbent did not answer: %q", e.Err)
	}
}

// judge looks at what the clients saw.
func (c faultCase) judge(t *testing.T, all []visit, a, b *proc, struck time.Time) {
	t.Helper()
	allowed := map[outcome][][]int{
		kept:    {{a.pid}},
		revived: {{a.pid}, {a.pid, b.pid, a.pid}},
		moved:   {{a.pid, b.pid}},
		gone:    {{a.pid}, {a.pid, b.pid}},
		failed:  {{a.pid}},
		fresh:   {{a.pid, b.pid}},
	}[c.want]
	if got := owners(all, a.pid); !slices.ContainsFunc(allowed, func(r []int) bool { return slices.Equal(r, got) }) {
		t.Errorf("owners in turn: %v (incumbent %d, successor %d)", got, a.pid, b.pid)
	}
	for _, v := range lost(all) {
		if !c.excused(v, a, b, struck) {
			t.Errorf("lost: %v; the %s was hit at %s", v, c.side, struck.Format("05.000000"))
		}
	}
}

// slack is how far the clocks of two processes may be apart, and how long a stop may take to reach all threads.
const slack = 100 * time.Millisecond

// excused reports whether a visit was lost because of what the test did: whoever accepted it was killed, or there was
// nobody left to accept it.
func (c faultCase) excused(v visit, a, b *proc, struck time.Time) bool {
	if v.end.Before(struck.Add(-slack)) {
		return false
	}
	if c.want == gone || c.want == failed || c.want == fresh {
		return true
	}
	if v.start.After(struck.Add(slack)) {
		return false
	}
	switch {
	case c.side == "incumbent" && c.action == "kill":
		return v.pid == a.pid || v.pid == 0
	case c.want == revived: // the successor died, or was ended by the incumbent
		return v.pid == b.pid || v.pid == 0
	}
	return false
}

// goOn upgrades once more, in the other way, or starts anew if nobody is left. Nothing may be lost in that.
func (c faultCase) goOn(t *testing.T, w *world, owner *proc) {
	t.Helper()
	w.conf.StepTimeout, w.conf.ReadyTimeout = 5*time.Second, 20*time.Second
	if owner == nil {
		soleOwner(t, w.addr, w.startAndServe().pid)
		return
	}
	soleOwner(t, w.addr, owner.pid)
	vs := come(t, w.addr, 2)
	mark := w.mark()
	next := w.succeed(map[string]string{"upgrade": "join", "join": "upgrade"}[c.way], owner, "tcp")
	if e := w.wait(mark, next.pid, "ready", ""); e.Err != "" {
		t.Fatalf("the upgrade after it: %s", e.Err)
	}
	vs.answered(t, next.pid)
	all := vs.leave()
	if got := owners(all, owner.pid); !slices.Equal(got, []int{owner.pid, next.pid}) {
		t.Errorf("owners in turn of the upgrade after it: %v, want %d and %d", got, owner.pid, next.pid)
	}
	for _, v := range lost(all) {
		t.Errorf("lost by the upgrade after it: %v", v)
	}
	soleOwner(t, w.addr, next.pid)
}

// startAndServe starts one that finds nobody.
func (w *world) startAndServe() *proc {
	w.t.Helper()
	mark := w.mark()
	p := w.start("tcp")
	if e := w.wait(mark, p.pid, "ready", ""); e.Err != "" {
		w.t.Fatalf("a fresh start: %s", e.Err)
	}
	return p
}
