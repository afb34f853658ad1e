package listener

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeSocket stands for a socket in the poller: waiting ends when its deadline has passed.
type fakeSocket struct {
	mu       sync.Mutex
	deadline time.Time
	changed  chan struct{}
	fail     error // of SetDeadline
	deaf     bool  // SetDeadline wakes nobody, as if O_NONBLOCK had been cleared
}

func (s *fakeSocket) SetDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.deadline = t
	if s.changed != nil && !s.deaf {
		close(s.changed)
		s.changed = nil
	}
	return nil
}

// wait is what Accept does when nobody comes.
func (s *fakeSocket) wait() error {
	for {
		s.mu.Lock()
		var expired <-chan time.Time
		if !s.deadline.IsZero() {
			if time.Until(s.deadline) <= 0 && !s.deaf {
				s.mu.Unlock()
				return &net.OpError{Op: "accept", Err: os.ErrDeadlineExceeded}
			}
			expired = time.After(time.Until(s.deadline))
		}
		if s.deaf {
			expired = nil
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-expired:
		case <-changed:
		}
	}
}

// through is Accept, reduced to the gate.
func (g *gate) through(s *fakeSocket) error {
	for {
		epoch, err := g.enter()
		if err != nil {
			return err
		}
		err = s.wait()
		if !g.leave(epoch, err) {
			return err
		}
	}
}

func newGate(t *testing.T) (*gate, *fakeSocket) {
	s := new(fakeSocket)
	g := new(gate)
	must(t, g.init(s.SetDeadline))
	return g, s
}

func TestGateZero(t *testing.T) {
	var g gate
	if _, err := g.enter(); err != net.ErrClosed {
		t.Errorf("enter: %v", err)
	}
	for name, f := range map[string]func() error{
		"open": g.open, "pause": g.pause, "deadline": func() error { return g.setDeadline(time.Now()) },
	} {
		if err := f(); err != net.ErrClosed {
			t.Errorf("%s: %v", name, err)
		}
	}
	if g.close() {
		t.Error("a zero gate was alive")
	}
}

// Each script says what the user does at which second, and when the waiting call returns with what.
func TestGateDeadlines(t *testing.T) {
	const s = time.Second
	type step struct {
		at time.Duration
		do func(*gate) error
	}
	open, pause := (*gate).open, (*gate).pause
	deadlineIn := func(d time.Duration) func(*gate) error {
		return func(g *gate) error { return g.setDeadline(time.Now().Add(d)) }
	}
	never := func(g *gate) error { return g.setDeadline(time.Time{}) }
	shut := func(g *gate) error { g.close(); return nil }

	for name, tt := range map[string]struct {
		steps   []step
		at      time.Duration
		wantErr error
	}{
		"paused":                     {[]step{{0, deadlineIn(3 * s)}}, 3 * s, os.ErrDeadlineExceeded},
		"already over":               {[]step{{0, deadlineIn(-s)}}, 0, os.ErrDeadlineExceeded},
		"set while it waits":         {[]step{{2 * s, deadlineIn(3 * s)}}, 5 * s, os.ErrDeadlineExceeded},
		"open":                       {[]step{{0, open}, {s, deadlineIn(s)}}, 2 * s, os.ErrDeadlineExceeded},
		"set paused, over when open": {[]step{{0, deadlineIn(3 * s)}, {s, open}}, 3 * s, os.ErrDeadlineExceeded},
		"set open, over when paused": {[]step{{0, open}, {s, deadlineIn(3 * s)}, {2 * s, pause}}, 4 * s, os.ErrDeadlineExceeded},
		"survives pause and open":    {[]step{{0, open}, {s, deadlineIn(3 * s)}, {2 * s, pause}, {3 * s, open}}, 4 * s, os.ErrDeadlineExceeded},
		"put off while paused":       {[]step{{0, deadlineIn(3 * s)}, {2 * s, deadlineIn(3 * s)}}, 5 * s, os.ErrDeadlineExceeded},
		"taken back while paused":    {[]step{{0, deadlineIn(3 * s)}, {2 * s, never}, {9 * s, shut}}, 9 * s, net.ErrClosed},
		"closed while paused":        {[]step{{2 * s, shut}}, 2 * s, net.ErrClosed},
		"closed before the deadline": {[]step{{0, deadlineIn(3 * s)}, {2 * s, shut}}, 2 * s, net.ErrClosed},
		"paused again and again":     {[]step{{0, open}, {s, pause}, {s, open}, {s, pause}, {2 * s, open}, {3 * s, deadlineIn(0)}}, 3 * s, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, socket := newGate(t)
				start := time.Now()
				var at time.Duration
				var got error
				done := make(chan struct{})
				for _, step := range tt.steps {
					if step.at == 0 {
						must(t, step.do(g))
					}
				}
				go func() {
					defer close(done)
					got = g.through(socket)
					at = time.Since(start)
				}()
				for _, step := range tt.steps {
					if step.at > 0 {
						time.Sleep(time.Until(start.Add(step.at)))
						synctest.Wait()
						must(t, step.do(g))
					}
				}
				<-done
				if !errors.Is(got, tt.wantErr) || at != tt.at {
					t.Errorf("returned %v after %v, want %v after %v", got, at, tt.wantErr, tt.at)
				}
			})
		})
	}
}

// A call that was woken by a pause, and sees the gate open again before it can look, must not take the past deadline
// for the user's.
func TestGateEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, socket := newGate(t)
		must(t, g.open())
		before, err := g.enter()
		must(t, err)
		if err := g.pause(); err != ErrStuck { // as we do not leave
			t.Fatal(err)
		}
		woken := socket.wait()
		must(t, g.open())
		after, err := g.enter()
		must(t, err)
		if !g.leave(before, woken) {
			t.Error("the deadline of a pause was taken for the user's")
		}
		if g.leave(after, woken) {
			t.Error("the user's deadline was taken for that of a pause")
		}
	})
}

func TestGateStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, socket := newGate(t)
		must(t, g.open())
		socket.deaf = true
		epoch, err := g.enter()
		must(t, err)
		start := time.Now()
		if err := g.pause(); err != ErrStuck || time.Since(start) != stuckAfter {
			t.Errorf("pause: %v after %v", err, time.Since(start))
		}
		if g.isOpen() {
			t.Error("the gate is open, though stuck")
		}
		time.AfterFunc(time.Second, func() { g.leave(epoch, nil) })
		if err := g.pause(); err != nil {
			t.Errorf("pause, once more: %v", err)
		}
		must(t, g.open())
		if _, err := g.enter(); err != nil {
			t.Error(err)
		}
		g.leave(0, nil)
	})
}

func TestGateCannotWake(t *testing.T) {
	g, socket := newGate(t)
	broken := errors.New("broken")
	socket.fail = broken
	if err := g.open(); err != broken || g.isOpen() {
		t.Errorf("open: %v, open: %v", err, g.isOpen())
	}
	socket.fail = nil
	must(t, g.open())
	socket.fail = broken
	if err := g.pause(); err != broken || !g.isOpen() {
		t.Errorf("pause: %v, open: %v", err, g.isOpen())
	}
	if err := g.setDeadline(time.Now()); err != broken {
		t.Errorf("deadline: %v", err)
	}
	if err := g.init(socket.SetDeadline); err != broken {
		t.Errorf("init: %v", err)
	}
}

// Between the return of pause and the call of open nobody is inside, however many try.
func TestGateExcludes(t *testing.T) {
	g, socket := newGate(t)
	var inside, passed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				epoch, err := g.enter()
				if err != nil {
					return
				}
				inside.Add(1)
				passed.Add(1)
				err = socket.wait()
				inside.Add(-1)
				g.leave(epoch, err)
			}
		})
	}
	for range 500 {
		before := passed.Load()
		must(t, g.open())
		eventually(t, "somebody is inside", func() bool { runtime.Gosched(); return passed.Load() > before })
		must(t, g.pause())
		if n := inside.Load(); n != 0 {
			t.Fatalf("%d inside a gate that is shut", n)
		}
	}
	g.close()
	wg.Wait()
	if n := g.state.Load() & inFlight; n != 0 {
		t.Errorf("%d counted in flight at the end", n)
	}
}

func TestGateAllocates(t *testing.T) {
	g, _ := newGate(t)
	must(t, g.open())
	if n := testing.AllocsPerRun(1000, func() {
		epoch, err := g.enter()
		if err == nil {
			g.leave(epoch, nil)
		}
	}); n != 0 {
		t.Errorf("%v allocations to pass", n)
	}
}
