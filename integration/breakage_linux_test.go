package integration

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/timeline"
)

// TestBreakage breaks an upgrade in twelve ways. The record of the incumbent, which serves on or again, says which it was: by a word,
// and by a text from which an operator knows what to do.
func TestBreakage(t *testing.T) {
	const (
		started = iota // Upgrade starts it
		raw            // likewise, but it is played
		call           // it calls, and is played
		state          // it has a section of state
	)
	for _, c := range []struct {
		name   string
		way    int
		conf   func(*world)
		strike unix.Signal // once it owns
		result timeline.Result
		reason timeline.Reason
		says   []string // in Error or Output
		exit   string   // status, or signal
	}{
		{"cannot be started", started, func(w *world) { w.conf.Command = "missing" }, 0,
			timeline.Failed, timeline.ReasonStart, []string{"/nonexistent/program", "no such file"}, ""},
		{"exits before Join", started, func(w *world) { w.conf.Start = "exit3" }, 0,
			timeline.Failed, timeline.ReasonDied, []string{"cannot find my configuration"}, "3"},
		{"hangs before Join", started, func(w *world) { w.conf.Start = "hang" }, 0,
			timeline.Failed, timeline.ReasonTimeout, []string{"before its first word", "waiting for a database"}, "killed|terminated"},
		{"hangs before Ready", started, func(w *world) { w.conf.Start = "hang-joined" }, 0,
			timeline.Failed, timeline.ReasonTimeout, []string{"did not become ready", "waiting for a database"}, "killed|terminated|0"},
		{"refused by Authorize", started, func(w *world) { w.conf.Nobody = true }, 0,
			timeline.Failed, timeline.ReasonUnauthorized, []string{"lets nobody in"}, "1"},
		{"refused by Authorize, calling", call, func(w *world) {
			w.conf.Nobody, w.conf.Raw = true, []string{`{"type":"hello","versions":[1],"name":"bad","pid":1}`}
		}, 0, timeline.Failed, timeline.ReasonUnauthorized, []string{"lets nobody in"}, ""},
		{"other version", raw, func(w *world) { w.conf.Raw = []string{`{"type":"hello","versions":[77],"name":"bad","pid":1}`} }, 0,
			timeline.Failed, timeline.ReasonVersion, []string{"[77]"}, ""},
		{"other version, calling", call, func(w *world) { w.conf.Raw = []string{`{"type":"hello","versions":[77],"name":"bad","pid":1}`} }, 0,
			timeline.Failed, timeline.ReasonVersion, []string{"[77]"}, ""},
		{"dies on probation", started, func(w *world) { w.conf.Probation, w.conf.USR1 = time.Minute, "exit4" }, unix.SIGUSR1,
			timeline.RolledBack, timeline.ReasonDied, []string{"before it confirmed"}, "4"},
		{"Check fails", started, func(w *world) { w.conf.Check, w.conf.USR1 = true, "hold" }, unix.SIGUSR1,
			timeline.RolledBack, timeline.ReasonCheck, []string{"told to fail"}, ""},
		{"dies in the guard", started, func(w *world) { w.conf.USR1 = "exit4" }, unix.SIGUSR1,
			timeline.Revived, timeline.ReasonDied, []string{"within the guard"}, "4"},
		{"killed in the guard", started, func(w *world) {}, unix.SIGKILL,
			timeline.Revived, timeline.ReasonDied, []string{"within the guard"}, "killed"},
		{"stopped after OWNED", started, func(w *world) { w.conf.Fault = "stop sent owned" }, 0,
			timeline.RolledBack, timeline.ReasonUnresponsive, []string{"no answer within"}, "killed"},
		{"no descriptors", started, func(w *world) { w.conf.Start = "nofile=+4" }, 0,
			timeline.Failed, timeline.ReasonDescriptors, []string{"RLIMIT_NOFILE"}, "1"},
		{"state fails", state, func(w *world) { w.conf.State = "restore fails" }, 0,
			timeline.Failed, timeline.ReasonState, []string{"\"count\": Restore"}, ""},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			role := "tcp"
			if c.way == state {
				role = "counter"
			}
			w := newWorld(t, role)
			w.conf.Guard, w.conf.Timeline = time.Minute, true
			w.conf.ReadyTimeout, w.conf.StepTimeout = 2*time.Second, time.Second
			if c.way == raw {
				w.conf.SpawnRole = "raw"
			}
			if strings.HasPrefix(c.name, "refused") || strings.HasPrefix(c.name, "cannot") { // what the incumbent does
				c.conf(w)
			}
			a := w.serving(role)
			c.conf(w)
			mark := w.mark()
			switch {
			case c.way == call:
				w.start("raw")
				w.wait(mark, a.pid, "log", "a caller was turned away")
			case w.conf.Command != "":
				w.signal(a, unix.SIGHUP)
				w.wait(mark, a.pid, "upgrade", "")
			default:
				w.upgrade(a)
				if c.strike != 0 {
					b := w.await(mark, "the successor owns", func(e event) bool {
						return e.PID != a.pid && e.Ev == "phase" && (e.Msg == "probation" || e.Msg == "serving")
					})
					if c.result == timeline.Revived {
						w.wait(mark, a.pid, "upgrade", "")
					}
					w.signal(w.of(b.PID), c.strike)
				}
			}
			x := w.tells(a, func(x telling) bool {
				return len(x.History) == 1 && x.History[0].Result != timeline.Running && x.History[0].Result != timeline.Done &&
					(c.exit == "" || x.History[0].Exit != nil)
			})
			if t.Failed() {
				return
			}
			h := x.History[0]
			if h.Result != c.result || h.Reason != c.reason {
				t.Errorf("it is %s (%s), want %s (%s)", h.Result, h.Reason, c.result, c.reason)
			}
			for _, want := range c.says {
				if !strings.Contains(h.Error+h.Output, want) {
					t.Errorf("it does not say %q", want)
				}
			}
			if x := h.Exit; c.exit != "" && !slices.Contains(strings.Split(c.exit, "|"), exitWord(x)) {
				t.Errorf("exit %+v, want %s", x, c.exit)
			}
			t.Logf("%s", h)
		})
	}
}

// exitWord is the status, or the signal.
func exitWord(x *timeline.Exit) string {
	if x.Signal != "" {
		return x.Signal
	}
	return strconv.Itoa(x.Status)
}
