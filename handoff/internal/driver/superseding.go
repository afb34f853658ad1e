package driver

import (
	"context"
	"sync"
	"time"
)

// superseding is one time of being superseded. A revival ends it and begins another.
type superseding struct {
	superseded event // the successor confirmed
	revived    event // the sockets came back

	mu         sync.Mutex
	drains     []context.CancelCauseFunc // of the contexts of drain functions
	cause      error                     // why they have ended; nil: they have not
	retired    bool                      // retire was called
	retirables []*retirable
	begun      time.Time // when a drain function was called that has not returned; zero: none
}

func newSuperseding() *superseding {
	return &superseding{superseded: newEvent(), revived: newEvent()}
}

// calls notes that a drain function was called, or has returned.
func (s *superseding) calls(begun time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = begun
}

// running reports whether one has been called and has not returned.
func (s *superseding) running() (begun time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun, !s.begun.IsZero()
}

// drain has cancel called when s ends, or at once if it has.
func (s *superseding) drain(cancel context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		cancel(s.cause)
	}
	s.drains = append(s.drains, cancel)
}

// end ends the contexts of drain functions. They have ended when it returns, so that a drain does nothing any more for which
// it looks at its context first.
func (s *superseding) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cause = cause
	for _, cancel := range s.drains {
		cancel(cause)
	}
}

// retire has all drains be past their deadline, now and later. It reports whether that is new.
func (s *superseding) retire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.retired
	s.retired = true
	for _, c := range s.retirables {
		c.end(context.DeadlineExceeded)
	}
	return !was
}

func (s *superseding) isRetired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retired
}

// retirable returns a context that is past its deadline from retire on. The caller calls kept when it does not need it any more.
func (s *superseding) retirable(ctx context.Context) (_ context.Context, kept func()) {
	c := &retirable{Context: ctx, done: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { c.end(ctx.Err()) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retirables = append(s.retirables, c)
	if s.retired {
		c.end(context.DeadlineExceeded)
	}
	return c, func() { stop() }
}

// retirable is a context whose deadline can be now. The standard library has none.
type retirable struct {
	context.Context // what it ends with too
	done            chan struct{}
	once            sync.Once
	err             error // valid once done is closed
}

func (c *retirable) end(err error) { c.once.Do(func() { c.err = err; close(c.done) }) }

func (c *retirable) Done() <-chan struct{} { return c.done }

func (c *retirable) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// event happens at most once, and everyone can wait for it. The zero value is no event: nobody waits for it.
type event struct {
	once *sync.Once
	c    chan struct{}
}

func newEvent() event { return event{once: new(sync.Once), c: make(chan struct{})} }

func (e event) happen() {
	if !e.none() {
		e.once.Do(func() { close(e.c) })
	}
}

func (e event) none() bool { return e.c == nil }

func (e event) happened() bool {
	select {
	case <-e.c:
		return true
	default:
		return false
	}
}
