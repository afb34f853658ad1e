package integration

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHeirPrints: a successor that was started by Upgrade prints, before and after its parent is killed, and takes the
// sockets all the same: the broken pipe of its standard output does not end it.
func TestHeirPrints(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	a := w.serving("tcp")
	w.conf.Start, w.conf.USR1 = "hold-joined", "hold"
	mark := w.mark()
	b := w.succeed("upgrade", a, "tcp")
	w.wait(mark, b.pid, "join", "")
	w.signal(a, unix.SIGKILL)
	print := func() {
		t.Helper()
		mark := w.mark()
		w.signal(b, unix.SIGUSR2)
		w.wait(mark, b.pid, "stats", "")
	}
	print() // the parent may be dying
	w.ended(a)
	print() // nobody reads the pipe
	w.wait(mark, b.pid, "log", "the incumbent died; this process takes the sockets when it is ready")
	print()
	w.signal(b, unix.SIGUSR1)
	w.wait(mark, b.pid, "ready", "")
	print()
	soleOwner(t, w.addr, b.pid)
	w.conf.Start = ""
	faultCase{way: "upgrade"}.goOn(t, w, b)
}

// TestHeirServesWhoWaits: an incumbent is killed while its heir prepares itself. Clients that come meanwhile wait in the queue, and
// the heir serves them when it is ready. Lost is only what the dead one had accepted.
func TestHeirServesWhoWaits(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			a := w.serving("tcp")
			w.conf.Start, w.conf.USR1 = "hold-joined", "hold"
			vs := come(t, w.addr, 3)
			vs.answered(t, a.pid)
			mark := w.mark()
			b := w.succeed(way, a, "tcp")
			w.wait(mark, b.pid, "join", "")
			vs.answered(t, a.pid)
			w.signal(a, unix.SIGKILL)
			w.ended(a)
			dead := time.Now()
			w.wait(mark, b.pid, "log", "the incumbent died; this process takes the sockets when it is ready")
			w.signal(b, unix.SIGUSR1)
			if e := w.wait(mark, b.pid, "ready", ""); e.Err != "" {
				t.Fatalf("Ready of the heir: %s", e.Err)
			}
			vs.answered(t, b.pid)
			all := vs.leave()
			if got := owners(all, a.pid); !slices.Equal(got, []int{a.pid, b.pid}) {
				t.Errorf("owners in turn: %v", got)
			}
			for _, v := range lost(all) {
				if v.pid == b.pid || v.start.After(dead) {
					t.Errorf("lost: %v", v)
				}
			}
			w.conf.Start = ""
			faultCase{way: way}.goOn(t, w, b)
		})
	}
}

// TestHeirPastDeadline: a successor takes longer to be ready than the incumbent waits, and then somebody ends the incumbent. The
// successor was told to give up, so it gets nothing and says so; the next start finds the addresses free.
func TestHeirPastDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	w.conf.ReadyTimeout = time.Second
	a := w.serving("tcp")
	w.conf.Start, w.conf.USR1 = "hold-joined", "hold"
	vs := come(t, w.addr, 2)
	mark := w.mark()
	b := w.start("tcp")
	w.wait(mark, b.pid, "join", "")
	w.wait(mark, a.pid, "log", "handover failed")
	vs.answered(t, a.pid)
	for _, v := range lost(vs.leave()) {
		t.Errorf("lost: %v", v)
	}
	w.signal(a, unix.SIGTERM)
	w.ended(a)
	if a.state.ExitCode() != 0 {
		t.Errorf("the incumbent: %v", a.state)
	}
	w.signal(b, unix.SIGUSR1)
	w.await(mark, "the error of the successor that was told to give up", func(e event) bool {
		return e.PID == b.pid && (e.Ev == "listen" || e.Ev == "ready") && e.Err != ""
	})
	w.ended(b)
	w.conf.Start = ""
	faultCase{way: "join"}.goOn(t, w, nil)
}
