package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/serve"
)

// roleWorker is the role tcp by serve.Run, beside a worker that may run in one process only: it holds a lock on the file
// conf.Lock, and says "work" when it has it and "rest" before it gives it up.
func roleWorker(c conf, e *emitter) int {
	ctx, stop := operator(c)
	defer stop()
	p, code := begin(ctx, c, e)
	if p == nil {
		return code
	}
	defer p.end()
	network, address, _ := strings.Cut(c.Listen[0], "/")
	ln, err := p.gen.Listen(ctx, network, address)
	if err != nil {
		e.result("listen", err)
		return 1
	}
	var conns clients
	err = serve.Run(ctx, p.gen,
		serve.Func(ln, func(l net.Listener) error { conns.serve(l); return net.ErrClosed }, conns.drain),
		serve.Worker(func(ctx context.Context) error { return p.work(ctx) }))
	e.result("wait", err)
	if err != nil && ctx.Err() == nil {
		return 1
	}
	return 0
}

// errOverlap: two processes work.
var errOverlap = errors.New("somebody else has the lock")

// work holds the lock until ctx ends, or longer if conf.Work says so.
func (p *process) work(ctx context.Context) error {
	f, err := os.OpenFile(p.Lock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { // who waited would not see an overlap
		p.e.result("overlap", fmt.Errorf("%w: %w", errOverlap, err))
		return errOverlap
	}
	p.e.emit(event{Ev: "work"})
	if p.Work == "fails" {
		return errors.New("the work fails")
	}
	<-ctx.Done()
	if p.Work == "stuck" {
		select {
		case <-p.hold: // SIGUSR1
		case <-p.quit:
		}
	}
	p.e.emit(event{Ev: "rest"})
	// Not only by closing it: a child that is just being forked has the descriptor too, until it executes.
	return unix.Flock(int(f.Fd()), unix.LOCK_UN)
}

func newWorkers(t *testing.T) *world {
	w := newWorld(t, "worker")
	w.conf.Lock = w.dir + "/lock"
	return w
}

// works waits until p works, from mark on.
func (w *world) works(mark int, p *proc) { w.t.Helper(); w.wait(mark, p.pid, "work", "") }

// working checks that no two processes ever worked at once, and returns who did in turn, and how long nobody did between two
// processes.
func (w *world) working() (who []int, gaps []time.Duration) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var rest event
	for _, e := range w.events {
		switch e.Ev {
		case "overlap":
			w.t.Errorf("two work at once: %v", e)
		case "rest":
			rest = e
		case "work":
			if len(who) > 0 && rest.PID == who[len(who)-1] && rest.PID != e.PID {
				gaps = append(gaps, time.Duration(e.At-rest.At))
			}
			who = append(who, e.PID)
		}
	}
	return who, gaps
}

// TestWorker upgrades under load: clients lose nothing, and the work goes on in one process after the other.
func TestWorker(t *testing.T) {
	t.Parallel()
	w := newWorkers(t)
	p := w.start("worker")
	w.works(0, p)
	vs := come(t, w.addr, 2)
	want := []int{p.pid}
	for i := range 10 {
		mark := w.mark()
		old := p
		p = w.take(ways[i%2], old, "worker")
		w.works(mark, p)
		vs.answered(t, p.pid)
		want = append(want, p.pid)
	}
	for _, v := range lost(vs.leave()) {
		t.Errorf("lost: %v", v)
	}
	who, gaps := w.working()
	if !slices.Equal(who, want) {
		t.Errorf("who worked: %v, want %v", who, want)
	}
	slices.Sort(gaps)
	t.Logf("nobody worked for %v", gaps)
	mark := w.mark()
	w.signal(p, unix.SIGTERM)
	w.ended(p)
	w.wait(mark, p.pid, "rest", "")
}

// TestWorkerFaults ends the successor, or the upgrade, at each step: the one that owns in the end works, and never do two.
func TestWorkerFaults(t *testing.T) {
	for _, c := range []struct {
		fault string // of the successor
		way   string
		again bool // the incumbent works again, otherwise on
	}{
		{"kill sent taken", "join", false},
		{"kill received commit", "join", true},
		{"kill sent owned", "upgrade", true},
		{"kill sent confirm", "join", true},
		{"stop received commit", "join", true},
		{"stop sent owned", "upgrade", true},
	} {
		t.Run(strings.ReplaceAll(c.fault, " ", "_"), func(t *testing.T) {
			t.Parallel()
			w := newWorkers(t)
			w.conf.Guard = time.Minute
			if strings.HasPrefix(c.fault, "stop") {
				w.conf.StepTimeout = 400 * time.Millisecond
			}
			a := w.start("worker")
			w.works(0, a)
			w.conf.Fault = c.fault
			vs := come(t, w.addr, 2)
			vs.answered(t, a.pid)
			mark := w.mark()
			b := w.succeed(c.way, a, "worker")
			w.wait(mark, b.pid, "fault", "")
			if c.again {
				rest := w.wait(mark, a.pid, "rest", "")
				w.await(mark, "the incumbent works again", func(e event) bool {
					return e.PID == a.pid && e.Ev == "work" && e.At > rest.At
				})
			}
			w.ended(b)
			vs.answered(t, a.pid)
			for _, v := range lost(vs.leave()) {
				if v.pid == a.pid {
					t.Errorf("lost: %v", v)
				}
			}
			w.conf.Fault = ""
			mark = w.mark()
			third := w.take("join", a, "worker")
			w.works(mark, third)
			who, _ := w.working()
			if n := len(who); who[n-1] != third.pid || !c.again && n != 2 {
				t.Errorf("who worked: %v", who)
			}
		})
	}
}

// TestWorkerStuck: one that does not return in time fails the upgrade; it runs on, and works again when it has returned. On
// the way back to the predecessor it is killed.
func TestWorkerStuck(t *testing.T) {
	t.Run("incumbent", func(t *testing.T) {
		t.Parallel()
		w := newWorkers(t)
		w.conf.StateTimeout, w.conf.Work, w.conf.USR1 = 300*time.Millisecond, "stuck", "hold"
		a := w.start("worker")
		w.works(0, a)
		w.conf.Work = ""
		vs := come(t, w.addr, 2)
		mark := w.mark()
		b := w.start("worker")
		e := w.await(mark, "the failure", func(e event) bool { return e.PID == a.pid && e.Msg == "handover failed" })
		if !strings.Contains(e.Err, "serve.Worker does not return") {
			t.Errorf("the operator is told: %s", e.Err)
		}
		w.ended(b)
		vs.answered(t, a.pid)
		if _, ended := w.poll(mark, time.Millisecond, of(a.pid, "rest", "")); ended {
			t.Error("it does not run on")
		}
		mark = w.mark()
		w.signal(a, unix.SIGUSR1)
		w.wait(mark, a.pid, "rest", "")
		w.works(mark, a)
		mark = w.mark()
		b = w.take("join", a, "worker")
		w.works(mark, b)
		for _, v := range lost(vs.leave()) {
			t.Errorf("lost: %v", v)
		}
		w.working()
	})
	t.Run("successor", func(t *testing.T) {
		t.Parallel()
		w := newWorkers(t)
		w.conf.Guard = time.Minute
		a := w.start("worker")
		w.works(0, a)
		w.conf.StateTimeout, w.conf.Work, w.conf.USR1 = 300*time.Millisecond, "stuck", "fail"
		mark := w.mark()
		b := w.take("upgrade", a, "worker")
		w.works(mark, b)
		mark = w.mark()
		w.signal(b, unix.SIGUSR1)
		w.ended(b)
		w.works(mark, a)
		soleOwner(t, w.addr, a.pid)
		w.working()
	})
}

// TestWorkerFails: a worker that returns by itself ends the servers; within the guard, the predecessor goes on.
func TestWorkerFails(t *testing.T) {
	t.Parallel()
	w := newWorkers(t)
	w.conf.Guard = time.Minute
	a := w.start("worker")
	w.works(0, a)
	w.conf.Work = "fails"
	mark := w.mark()
	b := w.start("worker")
	w.ended(b)
	if e := w.wait(mark, b.pid, "wait", ""); !strings.Contains(e.Err, "the work fails") {
		t.Errorf("Run of the successor: %s", e.Err)
	}
	w.await(mark, "the incumbent works again", func(e event) bool { return e.PID == a.pid && e.Ev == "work" })
	soleOwner(t, w.addr, a.pid)
	w.working()
}

// TestWorkerStops: the one that is started when, or before, another is stopped begins to work when that one has ended to.
func TestWorkerStops(t *testing.T) {
	for _, c := range []string{"heir", "anew"} {
		t.Run(c, func(t *testing.T) {
			t.Parallel()
			w := newWorkers(t)
			w.conf.Work, w.conf.USR1, w.conf.StateTimeout = "stuck", "hold", patience
			a := w.start("worker")
			w.works(0, a)
			w.conf.Work = ""
			var b *proc
			if c == "heir" {
				w.conf.Start = "hold-joined"
				b = w.start("worker")
				w.wait(0, b.pid, "join", "")
			}
			mark := w.mark()
			w.signal(a, unix.SIGTERM)
			if c == "heir" {
				w.signal(b, unix.SIGUSR1) // it gets ready meanwhile
			} else {
				b = w.start("worker")
			}
			w.signal(a, unix.SIGUSR1)
			w.wait(mark, a.pid, "rest", "")
			w.works(mark, b)
			w.ended(a)
			soleOwner(t, w.addr, b.pid)
			w.working()
		})
	}
}
