package integration

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReleaseFaults hits the ancestor and the incumbent at the two messages with which a generation that still guards
// its successor gives revival up, because that successor has one of its own.
func TestReleaseFaults(t *testing.T) {
	for _, c := range []struct {
		side, action, at string
		want             outcome // of the upgrade to the third generation
	}{
		{"ancestor", "kill", "received release", moved},
		{"ancestor", "kill", "sent released", moved},
		{"ancestor", "pause", "received release", moved},
		{"ancestor", "stop", "received release", kept},
		{"ancestor", "stop", "sent released", moved},
		// The ancestor has given up, or is about to, and the third has not been told that it may inherit.
		{"incumbent", "kill", "sent release", failed},
		{"incumbent", "kill", "received released", failed},
		{"incumbent", "pause", "sent release", moved},
		{"incumbent", "stop", "sent release", kept},
		{"incumbent", "stop", "received released", kept},
	} {
		for _, way := range []string{"upgrade", "join"} {
			name := strings.ReplaceAll(strings.Join([]string{c.side, way, c.action, c.at}, "/"), " ", "_")
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, "tcp")
				w.conf.Guard, w.conf.Traced = time.Minute, true // it is still guarding when it is released
				if c.action == "stop" {
					w.conf.StepTimeout = 400 * time.Millisecond
				}
				fault := strings.Replace(c.action, "pause", "stop", 1) + " " + c.at
				if c.side == "ancestor" {
					w.conf.Fault = fault
				}
				a := w.serving("tcp")
				let := hold(t, w.addr, a.pid) // so that it is there to answer, and not drained
				w.conf.Fault = ""
				if c.side == "incumbent" {
					w.conf.Fault = fault
				}
				b := w.start("tcp")
				w.wait(0, a.pid, "phase", "draining")
				vs := come(t, w.addr, 3)
				vs.answered(t, b.pid)
				w.conf.Fault = ""
				mark := w.mark()
				third := w.succeed(way, b, "tcp")
				hit := a
				if c.side == "incumbent" {
					hit = b
				}
				struck := w.wait(mark, hit.pid, "fault", "")
				let()
				if c.action != "kill" {
					w.stopped(hit)
				}
				if c.action == "stop" && c.side == "incumbent" {
					w.ended(third)
				}
				if c.action == "stop" && c.side == "ancestor" && c.want == kept {
					w.await(mark, "the incumbent's error", func(e event) bool {
						return e.PID == b.pid && strings.Contains(e.Err, "is it stopped?")
					})
				}
				if c.action != "kill" {
					_ = unix.Kill(hit.pid, unix.SIGCONT)
				}
				var owner *proc
				switch c.want {
				case moved:
					owner = third
					w.wait(mark, third.pid, "log", "serving")
				case kept:
					owner = b
					w.ended(third)
				case failed:
					w.ended(third)
				}
				if owner != nil {
					vs.answered(t, owner.pid)
				}
				w.ended(a) // released, it has nothing left to wait for
				all := vs.leave()
				want := []int{b.pid}
				if owner == third {
					want = append(want, third.pid)
				}
				if got := owners(all, b.pid); !slices.Equal(got, want) {
					t.Errorf("owners in turn: %v, want %v", got, want)
				}
				at := time.Unix(0, struck.At)
				for _, v := range lost(all) {
					if c.want != failed || v.end.Before(at.Add(-slack)) {
						t.Errorf("lost: %v", v)
					}
				}
				faultCase{way: way}.goOn(t, w, owner)
			})
		}
	}
}

// TestWaitFaults hits both sides while a successor waits for an incumbent that is not ready yet.
func TestWaitFaults(t *testing.T) {
	for _, c := range []struct {
		side, action, at string
		moves            bool // the one that waits serves in the end
	}{
		{"successor", "kill", "received wait", false},
		{"successor", "pause", "received wait", true},
		{"incumbent", "kill", "sent wait", true},
		{"incumbent", "pause", "sent wait", true},
	} {
		t.Run(strings.ReplaceAll(c.side+"/"+c.action, " ", "_"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			fault := strings.Replace(c.action, "pause", "stop", 1) + " " + c.at
			w.conf.Start, w.conf.USR1, w.conf.Traced = "hold-joined", "hold", true
			if c.side == "incumbent" {
				w.conf.Fault = fault
			}
			a := w.start("tcp")
			w.wait(0, a.pid, "join", "")
			w.conf.Start, w.conf.Fault = "", ""
			if c.side == "successor" {
				w.conf.Fault = fault
			}
			b := w.start("tcp")
			hit := a
			if c.side == "successor" {
				hit = b
			}
			w.wait(0, hit.pid, "fault", "")
			if c.action == "pause" {
				w.stopped(hit)
				w.signal(hit, unix.SIGCONT)
			}
			if hit != a || c.action != "kill" {
				w.signal(a, unix.SIGUSR1)
				w.wait(0, a.pid, "ready", "")
			}
			owner := a
			if c.moves {
				owner = b
			}
			if e := w.wait(0, owner.pid, "ready", ""); e.Err != "" {
				t.Fatalf("Ready: %s", e.Err)
			}
			if c.moves && c.action == "pause" {
				w.ended(a)
			}
			faultCase{way: "upgrade"}.goOn(t, w, owner)
		})
	}
}
