package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/segue-go/segue/handoff"
)

// Worker makes a [Server] of a function that may run in one process only: a scheduler of jobs, what holds an exclusive lock
// or a lease, a consumer of a queue. It listens to nothing.
//
// work is called, in a goroutine of its own, when the generation owns the sockets, so after Ready. Its ctx ends when it is to
// let go, which is
//   - when a successor is about to own: nothing is paused or handed over before work has returned. Requests are served
//     meanwhile;
//   - when the generation hands its sockets back to its predecessor;
//   - when the program stops for good.
//
// The successor's work is called when this one has returned, so the two never overlap, and neither do those of a process and
// of one that is started after it has been stopped. If the upgrade fails, or the generation is revived, work is called again.
// So it acquires what it needs when it is called, and gives it up before it returns. A predecessor that is revived because
// its successor died, or was killed, begins when that one is dead.
//
// That work returns is waited for as long as Config.StateTimeout, 10 seconds by default, but for three quarters of StepTimeout if
// the sockets go back to the predecessor, which waits for this process meanwhile. If that is not enough, or if work
// returns an error other than that of its context, the upgrade fails: this process serves on, and work is called again as soon
// as it has returned. When the sockets are to go back to the predecessor, and work does not return in that time, the
// predecessor kills this process first. At a stop for good it is waited for as long as the servers are, Config.DrainTimeout at
// most, and what runs on ends with the process.
//
// If work returns before its ctx ends, that ends all servers, whatever it returns: one that has nothing to do waits for the
// end of its ctx. docs/one-process.md has examples and figures.
func Worker(work func(ctx context.Context) error) Server {
	if work == nil {
		return Server{}
	}
	return Server{kind: "worker", impl: &worker{work: work, wake: make(chan struct{}, 1)}}
}

// worker runs work while the generation owns and nobody holds it.
type worker struct {
	work func(context.Context) error
	wake chan struct{} // something below has changed; holds one

	mu      sync.Mutex
	owns    bool // Ready has returned
	held    int  // who wants it not to run
	stopped bool // it will not run any more
	cancel  context.CancelFunc
	done    chan struct{} // of the run under way, closed when it has ended; nil: there is none
	err     error         // of the last run, if it is not that of its context
}

func (w *worker) attach(*runner) func(net.Conn) net.Conn { return nil }

// register has the generation hold w, the n-th server, before anybody else can own.
func (w *worker) register(gen generation, n int) error {
	return gen.State(fmt.Sprintf("segue/worker/%d", n), handoff.Section{Hold: w.hold})
}

// serve runs work again and again, until it is stopped or work returns by itself.
func (w *worker) serve(net.Listener) error {
	for {
		ctx, ok := w.begin()
		if !ok {
			return nil
		}
		err := w.work(ctx)
		if told := w.end(ctx, err); !told {
			return err
		}
	}
}

// begin waits until work is to run. It reports false if it never is again.
func (w *worker) begin() (context.Context, bool) {
	for {
		w.mu.Lock()
		switch {
		case w.stopped:
			w.mu.Unlock()
			return nil, false
		case w.owns && w.held == 0:
			defer w.mu.Unlock()
			var ctx context.Context
			ctx, w.cancel = context.WithCancel(context.Background())
			w.done, w.err = make(chan struct{}), nil
			return ctx, true
		}
		w.mu.Unlock()
		<-w.wake
	}
}

// end reports whether work was told to return.
func (w *worker) end(ctx context.Context, err error) (told bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	told = ctx.Err() != nil
	if told && err != nil && !errors.Is(err, context.Canceled) {
		w.err = err
	}
	w.cancel()
	close(w.done)
	w.done = nil
	return told
}

// change changes what decides whether work runs, and returns the end of a run that is not to go on; nil: there is none.
func (w *worker) change(f func()) (done <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	if w.done == nil {
		return nil
	}
	if w.held > 0 || w.stopped {
		w.cancel()
	}
	return w.done
}

// own lets work run.
func (w *worker) own() { w.change(func() { w.owns = true }) }

// quit tells work to return, for good.
func (w *worker) quit() <-chan struct{} { return w.change(func() { w.stopped = true }) }

// hold is [handoff.Section.Hold].
func (w *worker) hold(ctx context.Context) (release func(), err error) {
	release = func() { w.change(func() { w.held-- }) }
	if err := waitFor(ctx, w.change(func() { w.held++ })); err != nil {
		release()
		return nil, fmt.Errorf("the function of this serve.Worker does not return although its context has ended: %w", err)
	}
	w.mu.Lock()
	err = w.err
	w.err = nil
	w.mu.Unlock()
	if err != nil {
		release()
		return nil, fmt.Errorf("the function of this serve.Worker: %w", err)
	}
	return release, nil
}

// waitFor waits for done, if there is one, or for the end of ctx, whose cause is the error.
func waitFor(ctx context.Context, done <-chan struct{}) error {
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// drain has nothing to do: work has returned before the successor could own.
func (w *worker) drain(context.Context) error { return nil }

func (w *worker) stop(ctx context.Context, _ bool) error {
	if waitFor(ctx, w.quit()) != nil {
		return nil // who stops it finds that it has not returned
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
