package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/live"
)

// Run starts the servers, makes gen the owner of its sockets when all of them wait for connections, drains them all
// when a successor has taken over, goes on if gen is revived, and ends them when gen's work is done. Then it returns
// nil.
//
// If ctx ends first, Run stops for good, as at an operator's SIGTERM: it closes gen, so that no predecessor is
// revived, lets requests in flight finish for as long as Config.StopTimeout, by http.Server.Shutdown and
// GracefulStop, and returns nil.
//
// If the successor dies after the guard, while gen drains, Run drains the servers as ever and then returns an error that is
// [handoff.ErrSuccessorDied]: nobody serves, so exit with an error.
//
// If a server ends that was not asked to, or gen fails, Run stops the others in the same way and returns that error; a
// predecessor in its guard gets the sockets back (Generation.Fail), and then Run first drains the servers, whose
// connections that can move follow the sockets.
// An error before the servers are ready leaves everything with the predecessor.
//
// Run takes gen and the servers: when it returns, gen is closed, every listener is closed and every server has
// returned, unless the error says which has not. Handlers that ignore the end of their request's context may still be
// running.
func Run(ctx context.Context, gen *handoff.Generation, servers ...Server) error {
	if gen == nil {
		return errors.New("serve: no generation; give Run what handoff.Join returned")
	}
	return run(ctx, gen, servers)
}

// generation is what Run needs of a *handoff.Generation.
type generation interface {
	live.Hosted
	State(string, handoff.Section) error
	Ready(context.Context) error
	Wait(context.Context, func(context.Context) error) error
	Released() <-chan struct{}
	DrainTimeout() time.Duration
	StopTimeout() time.Duration
	Fail(error) error
	Close() error
}

// errReturned is the error of a server that returned none.
var errReturned = errors.New("returned although nobody stopped it")

// runner is one call of Run.
type runner struct {
	gen     generation
	https   map[*http.Server]*httpState
	units   []*unit
	tickets map[string]*tickets // by the name of their section

	wish    context.Context // ends when the program is to stop
	serving context.Context // what Ready and Wait have
	fail    context.CancelCauseFunc

	mu       sync.Mutex
	stopping bool  // from here on, servers may return as they like
	err      error // of the first server that ended too early
	felt     bool  // that server had only felt that its listener was closed
	deadline time.Time
	limited  bool // deadline is that of the last drain
}

// unit is a server that was started.
type unit struct {
	Server
	l       *listener     // nil if it has none
	started chan struct{} // closed when serve is about to be called
	done    chan struct{} // closed when serve has returned
}

func run(ctx context.Context, gen generation, servers []Server) error {
	// What Ready and Wait get never ends by a deadline of ctx, so that a drain that does is known to have used up its
	// DrainTimeout.
	serving, fail := context.WithCancelCause(context.WithoutCancel(ctx))
	defer fail(nil)
	r := &runner{gen: gen, https: make(map[*http.Server]*httpState), wish: ctx, serving: serving, fail: fail}
	if err := r.add(servers); err != nil {
		_ = gen.Close()
		return err
	}
	defer context.AfterFunc(ctx, func() { fail(context.Cause(ctx)) })()

	r.start()
	err := r.ready(serving)
	if err == nil {
		r.workers((*worker).own)
		err = gen.Wait(serving, r.drain)
	}
	if errors.Is(err, handoff.ErrSuccessorDied) { // it is drained all the same
		return errors.Join(err, r.finish(ctx))
	}
	if err != nil || serving.Err() != nil { // Wait may have seen both ends at once
		return r.abandon(ctx, err)
	}
	return r.finish(ctx)
}

func (r *runner) add(servers []Server) error {
	if len(servers) == 0 {
		return errors.New("serve: no servers; give Run at least one")
	}
	for i, s := range servers {
		if s.impl == nil {
			return fmt.Errorf("serve: server %d of %d is nil or has no listener", i+1, len(servers))
		}
	}
	for i, s := range servers {
		u := &unit{Server: s, started: make(chan struct{}), done: make(chan struct{})}
		accepted := s.impl.attach(r)
		if h, ok := s.impl.(*httpServer); ok && !h.plain {
			if err := r.shareTickets(h); err != nil {
				return err
			}
		}
		if w, ok := s.impl.(*worker); ok {
			if err := w.register(r.gen, i+1); err != nil {
				return err
			}
		}
		if s.ln != nil {
			u.l = newListener(s.ln, accepted)
		}
		r.units = append(r.units, u)
	}
	return nil
}

// workers calls f for each worker.
func (r *runner) workers(f func(*worker)) {
	for _, u := range r.units {
		if w, ok := u.impl.(*worker); ok {
			f(w)
		}
	}
}

func (r *runner) start() {
	for _, u := range r.units {
		go func() {
			defer close(u.done)
			close(u.started)
			var l net.Listener
			if u.l != nil {
				l = u.l
			}
			r.returned(u, u.impl.serve(l))
		}()
	}
}

// returned decides whether a server that came back should have.
func (r *runner) returned(u *unit, err error) {
	// What servers say when their listener is closed is their own; of what one without a listener uses, nothing is known.
	closed := errors.Is(err, net.ErrClosed) || u.l != nil && u.l.ended.Load()
	if r.released(closed || u.l == nil) {
		return // there will be nothing to accept any more
	}
	if err == nil {
		err = errReturned
	}
	r.mu.Lock()
	if r.stopping || r.wish.Err() != nil { // the program may have told it before Run did
		r.mu.Unlock()
		return
	}
	if r.err == nil {
		r.felt = closed
		r.err = fmt.Errorf("serve: %v: %w", u.Server, err)
	}
	err = r.err
	r.mu.Unlock()
	r.fail(err)
}

// released reports whether the generation is over. One that ends may close its listeners a little earlier than it says
// so; soon is for who felt that.
func (r *runner) released(soon bool) bool {
	select {
	case <-r.gen.Released():
		return true
	default:
	}
	if !soon {
		return false
	}
	select {
	case <-r.gen.Released():
		return true
	case <-time.After(lastCall):
		return false // somebody else has closed it
	}
}

// ready commits once all servers wait for connections.
func (r *runner) ready(ctx context.Context) error {
	for _, u := range r.units {
		waiting := u.started
		if u.l != nil {
			waiting = u.l.waiting
		}
		select {
		case <-waiting:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return r.gen.Ready(ctx)
}

// drain is what Wait calls when a successor has taken over.
func (r *runner) drain(ctx context.Context) error {
	r.mu.Lock()
	r.deadline, r.limited = ctx.Deadline()
	r.mu.Unlock()
	err := r.each(func(u *unit) error {
		if err := u.impl.drain(ctx); err != nil {
			return fmt.Errorf("serve: drain %v: %w", u.Server, err)
		}
		return nil
	})
	if errors.Is(ctx.Err(), context.DeadlineExceeded) { // or somebody has ended it before
		r.mu.Lock()
		r.deadline, r.limited = time.Now(), true
		r.mu.Unlock()
	}
	return err
}

// finish ends what Wait has found to be drained.
func (r *runner) finish(ctx context.Context) error {
	r.mu.Lock()
	r.stopping = true
	err, deadline, limited := r.err, r.deadline, r.limited
	r.mu.Unlock()
	if limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	return errors.Join(err, r.stop(ctx, true), r.gen.Close())
}

// abandon ends everything because of err, which Ready or Wait returned: the error of a server, or the generation's own.
// If it is only that ctx has ended, that is no error.
func (r *runner) abandon(ctx context.Context, err error) error {
	r.mu.Lock()
	r.stopping = true
	failed, felt := r.err, r.felt
	r.mu.Unlock()
	switch {
	case failed != nil && errors.Is(err, failed):
		err = failed
	case felt:
		// The server only felt what err says: the generation is over.
	case failed != nil:
		err = errors.Join(err, failed)
	case ctx.Err() != nil:
		err = nil
	}
	// A failure gives the sockets back to a predecessor that is still there to take them; a wish does not.
	end := r.gen.Close
	failing := err != nil && !errors.Is(err, handoff.ErrHandedBack)
	if failing {
		end = func() error { return r.gen.Fail(err) }
	}
	ctx, cancel := within(ctx, r.gen.StopTimeout())
	defer cancel()
	r.workers(func(w *worker) { w.quit() }) // end waits for them, and does not let them begin again
	ended := end()
	if failing { // connections follow the sockets, which takes servers that drain; nothing if gen is closed
		if back := r.gen.Wait(ctx, r.drain); !errors.Is(back, handoff.ErrHandedBack) && !errors.Is(back, net.ErrClosed) {
			ended = errors.Join(ended, back)
		}
	}
	return errors.Join(err, ended, r.stop(ctx, false), r.gen.Close())
}

// stop ends all servers, by force when ctx ends.
func (r *runner) stop(ctx context.Context, drained bool) error {
	for _, u := range r.units {
		if u.l != nil {
			// The generation's listeners are closed already. What wraps them, and what is not of the generation,
			// wakes up only now.
			_ = u.l.Close()
		}
	}
	return r.each(func(u *unit) error {
		if err := u.impl.stop(ctx, drained); err != nil {
			return fmt.Errorf("serve: stop %v: %w", u.Server, err)
		}
		select {
		case <-u.done:
			return nil
		case <-ctx.Done():
		}
		last, cancel := within(ctx, lastCall)
		defer cancel()
		select {
		case <-u.done:
			return nil
		case <-last.Done():
			return fmt.Errorf("serve: %v: serve did not return after its listener was closed: %w", u.Server, ctx.Err())
		}
	})
}

// each calls f for all units at once, and waits.
func (r *runner) each(f func(*unit) error) error {
	errs := make([]error, len(r.units))
	var wg sync.WaitGroup
	for i, u := range r.units {
		wg.Go(func() { errs[i] = f(u) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
