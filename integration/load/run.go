package load

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Run drives a server as o says until ctx ends, and returns what it counted. The end of ctx is how a load ends, no
// error: requests that were begun are finished, within Options.Timeout. The error is about o only; what failed is in
// the Result.
func Run(ctx context.Context, o Options) (*Result, error) {
	l, err := Start(ctx, o)
	if err != nil {
		return nil, err
	}
	return l.Wait(), nil
}

// Load is a load that was started. Its methods may be called by many goroutines at once.
type Load struct {
	o      Options
	cancel context.CancelFunc
	kinds  [kinds]recorder
	begun  time.Time
	wg     sync.WaitGroup
	crowd  chan struct{} // holds a value for each Idle that asks just now
}

// maxCrowd is how many of Idle ask at a time: thousands at the start and the end would be a load of their own.
const maxCrowd = 32

// Start is Run in the background; Wait must be called.
func Start(ctx context.Context, o Options) (*Load, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Load{o: o, begun: time.Now(), crowd: make(chan struct{}, maxCrowd)}
	ctx, l.cancel = context.WithCancel(ctx)
	for k := range kinds {
		l.kinds[k].begun = l.begun
		for n := range o.workers(k) {
			l.wg.Go(func() { (&worker{l: l, kind: k, n: n}).run(ctx) })
		}
	}
	return l, nil
}

// Stop ends the load as the end of the context does. It does not wait.
func (l *Load) Stop() { l.cancel() }

// Wait returns when the load has ended, by the context or Stop, and every connection is closed.
func (l *Load) Wait() *Result {
	l.wg.Wait()
	l.cancel()
	r := &Result{Begun: l.begun, Ended: time.Now(), Seed: l.o.Seed}
	for k := range kinds {
		if l.o.workers(k) > 0 {
			r.Kinds = append(r.Kinds, l.kinds[k].result(k))
		}
	}
	if l.o.Idle > 0 {
		r.Lasting = []Lasting{{Name: Idle.String(), Connections: l.o.Idle, kind: true}}
		r.updateLasting()
	}
	return r
}

// Counts returns what was counted until now, all kinds together.
func (l *Load) Counts() Counts {
	var c Counts
	for k := range kinds {
		c.add(l.kinds[k].read())
	}
	return c
}

// Excuse is Result.Excuse for what has failed until now. The match function must not call methods of l.
func (l *Load) Excuse(match func(Failure) bool) int {
	n := 0
	for k := range kinds {
		n += l.kinds[k].excuse(match)
	}
	return n
}

// worker is one client. It has at most one connection and one request in flight.
type worker struct {
	l    *Load
	kind Kind
	n    int
}

func (w *worker) run(ctx context.Context) {
	r := newRequests(&w.l.o, w.kind, w.n)
	s := &session{o: &w.l.o}
	defer s.close()
	if w.kind == Idle {
		w.runIdle(ctx, r, s)
		return
	}
	keep := w.kind == Kept || w.kind != New && w.n%2 == 0
	for ctx.Err() == nil {
		w.request(s, r.next(keep))
		if !keep {
			s.close()
		}
		w.pause(ctx, s, time.Now().Add(r.pause()))
	}
}

// runIdle keeps a connection on which nothing happens for long.
func (w *worker) runIdle(ctx context.Context, r *requests, s *session) {
	ask := func() {
		w.l.crowd <- struct{}{}
		defer func() { <-w.l.crowd }()
		w.request(s, r.next(true))
	}
	for ctx.Err() == nil {
		ask()
		if s.conn == nil || !w.watch(ctx, s, time.Now().Add(r.around(w.l.o.Rest))) {
			// It was lost: another one, but not as fast as the machine can.
			w.pause(ctx, s, time.Now().Add(r.pause()))
		}
	}
	if s.conn != nil {
		ask()
	}
}

// pause waits until the given time or the end of ctx, and watches the connection, if there is one, meanwhile.
func (w *worker) pause(ctx context.Context, s *session, until time.Time) {
	if s.conn != nil && w.watch(ctx, s, until) {
		return
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// watch watches the connection until the given time or the end of ctx, and reports whether it is still there.
func (w *worker) watch(ctx context.Context, s *session, until time.Time) bool {
	err := s.idle(ctx, until)
	if err == nil {
		return true
	}
	f := s.failure(w.kind, w.n, s.last, err)
	f.Forced = !errors.Is(err, ErrUnasked)
	w.l.kinds[w.kind].fail(f)
	s.close()
	return false
}

// request sends one request and records what became of it. After a failure, or if the server says that it will close
// the connection, there is none any more.
func (w *worker) request(s *session, q *request) {
	rec := &w.l.kinds[w.kind]
	start := time.Now()
	deadline := start.Add(w.l.o.Timeout + q.asked)
	a, err := func() (*answer, error) {
		if err := s.connect(deadline); err != nil {
			return nil, err
		}
		a, err := s.roundTrip(deadline, q.method, q.send)
		if err != nil {
			return nil, err
		}
		return a, q.check(a.body)
	}()
	if err != nil {
		f := s.failure(w.kind, w.n, start, err)
		if a != nil && a.pid != 0 {
			f.PID = a.pid // whose wrong answer it was
		}
		rec.fail(f)
		s.close()
		return
	}
	end := time.Now()
	s.note(a, end)
	polite := a.close && (w.kind == Kept || w.kind == Idle || w.kind != New && w.n%2 == 0)
	rec.ok(w.n, start, end, max(0, end.Sub(start)-q.waited), a.pid, polite)
	if a.close {
		s.close()
	}
}
