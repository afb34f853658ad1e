package integration

import (
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRescueTogether: several come to the rescue at once. One becomes the first of the new chain and the others its
// successors, or too late; who has waited in the queue is served.
func TestRescueTogether(t *testing.T) {
	for _, n := range []int{2, 4} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			w.conf.StepTimeout, w.conf.Rescue = 500*time.Millisecond, "on"
			a := w.serving("tcp")
			w.signal(a, unix.SIGSTOP)
			w.stopped(a)
			var waiting []net.Conn
			for range 20 {
				c, err := net.DialTimeout("tcp", w.addr, patience)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				waiting = append(waiting, c)
			}
			w.conf.StepTimeout = 2 * time.Second
			var rescuers []*proc
			for range n {
				rescuers = append(rescuers, w.start("tcp"))
			}
			ready, fresh := map[int]bool{}, 0
			for _, p := range rescuers {
				w.await(0, "an outcome", func(e event) bool { return e.PID == p.pid && (e.Ev == "ready" || e.Ev == "exit") })
				if _, ok := w.poll(0, 0, func(e event) bool { return e.PID == p.pid && e.Ev == "ready" && e.Err == "" }); !ok {
					w.ended(p) // it came too late
					continue
				}
				ready[p.pid] = true
				if _, succeeds := w.poll(0, 0, of(p.pid, "log", "succeeding")); !succeeds {
					fresh++
				}
			}
			if fresh != 1 {
				t.Errorf("%d have become the first of a chain", fresh)
			}
			w.ended(a)
			for i, c := range waiting {
				if err := greeted(c, slices.Collect(maps.Keys(ready))...); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			}
			owner := call(w.addr).pid
			if !ready[owner] {
				t.Fatalf("owner is %d, none of %v", owner, ready)
			}
			soleOwner(t, w.addr, owner)
			w.conf.Rescue = ""
			faultCase{way: "join"}.goOn(t, w, w.of(owner))
		})
	}
}

// TestRescueOfTheDying: the incumbent dies before it is killed. Whatever was taken meanwhile, perhaps out of another process
// with its number, is not used; the place is free.
func TestRescueOfTheDying(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			w.conf.StepTimeout = 500 * time.Millisecond
			a := w.serving("tcp")
			w.signal(a, unix.SIGSTOP)
			w.stopped(a)
			w.conf.Rescue = "dies " + when
			b := w.start("tcp")
			if e := w.wait(0, b.pid, "ready", ""); e.Err != "" {
				t.Fatalf("Ready: %s", e.Err)
			}
			w.ended(a)
			w.await(0, "dropping what was taken", func(e event) bool {
				return e.PID == b.pid && strings.HasPrefix(e.Msg, "RESCUE: the incumbent ended meanwhile")
			})
			soleOwner(t, w.addr, b.pid)
			w.conf.Rescue = ""
			faultCase{way: "join"}.goOn(t, w, b)
		})
	}
}

// TestRescueAfterOwned: the owner hangs right after it has become that. It is the one that is killed, and not its
// predecessor, which still guards it.
func TestRescueAfterOwned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	w.conf.StepTimeout = 30 * time.Second
	a := w.serving("tcp")
	w.conf.Probation, w.conf.Fault = 20*time.Second, "stop sent owned"
	b := w.start("tcp")
	w.wait(0, b.pid, "fault", "")
	w.stopped(b)
	vs := come(t, w.addr, 3)
	w.conf.Probation, w.conf.Fault = 0, ""
	w.conf.StepTimeout, w.conf.Rescue = 500*time.Millisecond, "on"
	c := w.start("tcp")
	if e := w.wait(0, c.pid, "ready", ""); e.Err != "" {
		t.Fatalf("Ready of the rescuer: %s", e.Err)
	}
	w.ended(b)
	w.await(0, "revival", of(a.pid, "log", "this generation serves again"))
	vs.answered(t, c.pid)
	for _, v := range lost(vs.leave()) {
		t.Errorf("lost: %v", v)
	}
	w.ended(a)
	soleOwner(t, w.addr, c.pid)
}

// TestIncumbentWithoutDescriptors: an incumbent that cannot accept any more, because its clients have all descriptors, says
// so to who calls, and is not taken for dead.
func TestIncumbentWithoutDescriptors(t *testing.T) {
	t.Parallel()
	w, a := liveWorld(t, "tcp")
	w.conf.Start = "nofile=40"
	b := w.take("join", a, "http")
	w.ended(a)
	w.conf.Start = ""
	var clients []net.Conn
	for range 50 {
		c, err := net.DialTimeout("tcp", w.addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		clients = append(clients, c)
	}
	w.opens(b, 39, 100)
	w.conf.StepTimeout, w.conf.Rescue = 500*time.Millisecond, "on"
	c := w.start("http")
	e := w.wait(0, c.pid, "join", "")
	if !strings.Contains(e.Err, "RLIMIT_NOFILE") || !strings.Contains(e.Is, "aborted") {
		t.Errorf("Join: %q, errors.Is says %q", e.Err, e.Is)
	}
	w.ended(c)
	if !b.alive() {
		t.Fatal("the incumbent is dead")
	}
	for _, c := range clients {
		_ = c.Close()
	}
	w.opens(b, 0, 25)
	w.connect(0).answeredBy(t, b.pid)
	w.take("join", b, "http")
}

// opens waits until a process has between least and most descriptors.
func (w *world) opens(p *proc, least, most int) {
	w.t.Helper()
	for since := time.Now(); ; time.Sleep(time.Millisecond) {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
		if err == nil && len(open) >= least && len(open) <= most {
			return
		}
		if time.Since(since) > patience {
			w.t.Fatalf("pid %d has %d descriptors, %v", p.pid, len(open), err)
		}
	}
}
