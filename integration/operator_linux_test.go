package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOperatorEndsSuccessor ends a successor that is still starting: nothing happens to the incumbent.
func TestOperatorEndsSuccessor(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			a := w.serving("tcp")
			w.conf.Start, w.conf.USR1 = "hold-joined", "hold"
			vs := come(t, w.addr, 2)
			mark := w.mark()
			b := w.succeed(way, a, "tcp")
			w.wait(mark, b.pid, "join", "")
			w.signal(b, unix.SIGTERM)
			w.ended(b)
			if way == "upgrade" {
				if e := w.wait(mark, a.pid, "upgrade", ""); e.Err == "" {
					t.Error("Upgrade did not fail")
				}
			} else {
				w.wait(mark, a.pid, "log", "handover failed")
			}
			vs.answered(t, a.pid)
			for _, v := range lost(vs.leave()) {
				t.Errorf("lost: %v", v)
			}
			w.conf.Start = ""
			faultCase{way: way}.goOn(t, w, a)
		})
	}
}

// TestOperatorEndsIncumbent ends an incumbent while a successor that was started beside it gets ready: the sockets are
// left to that one. One that the incumbent itself has started ends with it.
func TestOperatorEndsIncumbent(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			a := w.serving("tcp")
			w.conf.Start, w.conf.USR1 = "hold-joined", "hold"
			mark := w.mark()
			b := w.succeed(way, a, "tcp")
			w.wait(mark, b.pid, "join", "")
			w.signal(a, unix.SIGTERM)
			if way == "upgrade" {
				w.ended(b)
				w.ended(a)
				w.conf.Start = ""
				faultCase{way: way}.goOn(t, w, nil)
				return
			}
			// Clients wait now: nobody accepts, and nobody is refused.
			w.wait(mark, b.pid, "log", "the incumbent stops and leaves the sockets to this process")
			w.ended(a)
			vs := come(t, w.addr, 2)
			w.signal(b, unix.SIGUSR1)
			if e := w.wait(mark, b.pid, "ready", ""); e.Err != "" {
				t.Fatalf("Ready of the heir: %s", e.Err)
			}
			vs.answered(t, b.pid)
			for _, v := range lost(vs.leave()) {
				t.Errorf("lost: %v", v)
			}
			if a.state.ExitCode() != 0 {
				t.Errorf("the incumbent: %v", a.state)
			}
			w.conf.Start = ""
			faultCase{way: way}.goOn(t, w, b)
		})
	}
}

// TestOperatorEndsAncestor ends an incumbent that guards its successor, which serves on.
func TestOperatorEndsAncestor(t *testing.T) {
	for _, way := range ways {
		for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
			t.Run(way+"/"+unix.SignalName(s), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, "tcp")
				w.conf.Guard = time.Minute
				a := w.serving("tcp")
				vs := come(t, w.addr, 2)
				vs.answered(t, a.pid)
				mark := w.mark()
				b := w.succeed(way, a, "tcp")
				w.wait(mark, a.pid, "phase", "draining")
				vs.answered(t, b.pid)
				w.signal(a, s)
				w.ended(a)
				vs.answered(t, b.pid)
				all := vs.leave()
				if got := owners(all, a.pid); !slices.Equal(got, []int{a.pid, b.pid}) {
					t.Errorf("owners in turn: %v", got)
				}
				for _, v := range lost(all) {
					if v.pid != a.pid { // what the killed one had accepted
						t.Errorf("lost: %v", v)
					}
				}
				faultCase{way: way}.goOn(t, w, b)
			})
		}
	}
}

// TestBusy: of two that would succeed, the second is told who the first is and how far.
func TestBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	a := w.serving("tcp")
	w.conf.Start, w.conf.USR1 = "hold-joined", "hold"
	b := w.start("tcp")
	w.wait(0, b.pid, "join", "")
	c := w.start("tcp")
	e := w.wait(0, c.pid, "join", "")
	if !strings.Contains(e.Is, "busy") || !strings.Contains(e.Err, strconv.Itoa(b.pid)) || !strings.Contains(e.Err, "offering") {
		t.Errorf("the second is told %q, want the first, %d, and its phase", e.Err, b.pid)
	}
	w.ended(c)
	w.signal(a, unix.SIGHUP)
	if e := w.wait(0, a.pid, "upgrade", ""); !strings.Contains(e.Is, "busy") {
		t.Errorf("Upgrade meanwhile: %q", e.Err)
	}
	w.signal(b, unix.SIGUSR1)
	w.wait(0, b.pid, "ready", "")
	w.ended(a)
	soleOwner(t, w.addr, b.pid)
}

// TestOutput: a successor that was started by Upgrade can print when its parent is gone, and by segue's own signals.
func TestOutput(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	w.conf.Signals = true
	a := w.serving("tcp")
	b := w.upgrade(a)
	w.ended(a)
	w.signal(b, unix.SIGUSR2)
	w.wait(0, b.pid, "stats", "")
	c := w.upgrade(b)
	w.ended(b)
	for range 3 {
		mark := w.mark()
		w.signal(c, unix.SIGUSR2)
		w.wait(mark, c.pid, "stats", "")
	}
	soleOwner(t, w.addr, c.pid)
	out, err := os.ReadFile(w.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	for p, n := range map[*proc]int{b: 1, c: 3} {
		if got := strings.Count(string(out), fmt.Sprintf("reported by %d\n", p.pid)); got != n {
			t.Errorf("pid %d printed %d lines that arrived, want %d:\n%s", p.pid, got, n, out)
		}
	}
}

// TestSecondSignal: a signal that comes while an upgrade is under way starts another one, of the successor if the first one was
// successful: what the signal means may be newer than what the successor has read.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	w.conf.Signals = true
	a := w.serving("tcp")
	b := w.upgrade(a)
	mark := w.mark()
	w.signal(a, unix.SIGHUP) // b has only just started
	e := w.await(mark, "a successor of the successor", func(e event) bool { return e.Ev == "start" && e.Parent == b.pid })
	w.ended(a)
	w.ended(b)
	soleOwner(t, w.addr, e.PID)
}

// TestRestart: what a process that was killed leaves behind does not keep the next one from starting.
func TestRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	sock := filepath.Join(w.dir, "service.sock")
	w.conf.Listen = append(w.conf.Listen, "unix/"+sock)
	for range 3 {
		a := w.startAndServe()
		soleOwner(t, w.addr, a.pid)
		w.signal(a, unix.SIGKILL)
		w.ended(a)
		if _, err := os.Stat(sock); err != nil {
			t.Fatalf("not left behind, so nothing is tested: %v", err)
		}
	}
	a := w.startAndServe()
	b := w.take("join", a, "tcp") // the path that was bound anew is inherited
	w.ended(a)
	w.signal(b, unix.SIGTERM)
	w.ended(b)
	for _, f := range []string{sock, w.conf.Path} {
		if _, err := os.Lstat(f); !os.IsNotExist(err) {
			t.Errorf("%s: %v, want it removed by the one that stopped for good", f, err)
		}
	}
}

// TestTwoFirst: of two that start at once where nobody is, one is the incumbent and the other its successor.
func TestTwoFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	a, b := w.start("tcp"), w.start("tcp")
	for _, p := range []*proc{a, b} {
		if e := w.wait(0, p.pid, "ready", ""); e.Err != "" {
			t.Fatalf("Ready of pid %d: %s", p.pid, e.Err)
		}
	}
	w.await(0, "one of them is superseded", func(e event) bool { return e.Ev == "log" && e.Msg == "superseded" })
	select {
	case <-a.done:
		soleOwner(t, w.addr, b.pid)
	case <-b.done:
		soleOwner(t, w.addr, a.pid)
	case <-time.After(patience):
		t.Error("both live")
	}
}
