package serve

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// shift is a worker of a test: it notes when it runs.
type shift struct {
	began, ended, now atomic.Int32
	ignore            atomic.Int64 // for how long it ignores that its context has ended
	result            func(context.Context) error
}

func (s *shift) work(ctx context.Context) error {
	s.began.Add(1)
	defer func() { s.now.Add(-1); s.ended.Add(1) }()
	if s.now.Add(1) > 1 {
		panic("it overlaps itself")
	}
	<-ctx.Done()
	time.Sleep(time.Duration(s.ignore.Load()))
	if s.result != nil {
		return s.result(ctx)
	}
	return ctx.Err()
}

// working starts Run with a worker, and returns what the generation calls to hold it.
func working(t *testing.T, s *shift, gen *fakeGeneration) (*running, func(time.Duration) (func(), error)) {
	t.Helper()
	r := start(gen, Worker(s.work))
	r.pending(t)
	return r, func(d time.Duration) (func(), error) {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		return gen.sections["segue/worker/1"].Hold(ctx)
	}
}

func TestWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shift
		gen, owned := newFake(), make(chan struct{})
		gen.onReady = func(context.Context) error { <-owned; return nil }
		r, hold := working(t, &s, gen)
		if s.began.Load() != 0 {
			t.Fatal("it works, and the generation does not own")
		}
		close(owned)
		r.pending(t)
		if s.now.Load() != 1 {
			t.Fatal("it does not work")
		}
		for range 2 { // an attempt that fails
			release, err := hold(time.Second)
			if err != nil || s.now.Load() != 0 {
				t.Fatalf("held: %v, it works: %d", err, s.now.Load())
			}
			second, err := hold(time.Second) // by Close
			if err != nil {
				t.Fatal(err)
			}
			release()
			r.pending(t)
			if s.now.Load() != 0 {
				t.Fatal("it works although it is held")
			}
			second()
			r.pending(t)
			if s.now.Load() != 1 {
				t.Fatal("it does not work again")
			}
		}
		if _, err := hold(time.Second); err != nil {
			t.Fatal(err)
		}
		r.gen.supersede()
		r.gen.release()
		r.returned(t, nil)
		if s.began.Load() != 3 || s.ended.Load() != 3 {
			t.Errorf("it began %d times, and ended %d times", s.began.Load(), s.ended.Load())
		}
	})
}

// TestWorkerHeldEarly: an attempt that begins as soon as the generation owns.
func TestWorkerHeldEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shift
		gen := newFake()
		var release func()
		gen.onReady = func(ctx context.Context) (err error) {
			release, err = gen.sections["segue/worker/1"].Hold(ctx)
			return err
		}
		r, _ := working(t, &s, gen)
		if s.began.Load() != 0 {
			t.Fatal("it works although it is held")
		}
		release()
		r.pending(t)
		if s.now.Load() != 1 {
			t.Fatal("it does not work")
		}
		r.stop()
		r.returned(t, nil)
	})
}

// TestWorkerLate: one that does not return in time runs on, and begins again when it has returned.
func TestWorkerLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shift
		s.ignore.Store(int64(time.Hour))
		r, hold := working(t, &s, newFake())
		if _, err := hold(time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("hold: %v", err)
		}
		r.pending(t)
		if s.now.Load() != 1 || s.ended.Load() != 0 {
			t.Fatal("it does not run on")
		}
		time.Sleep(2 * time.Hour)
		r.pending(t)
		if s.now.Load() != 1 || s.ended.Load() != 1 {
			t.Fatal("it does not work again")
		}
		s.ignore.Store(0)
		r.stop()
		r.returned(t, nil)
	})
}

// TestWorkerError: what it returns when it is told to end keeps the generation from handing over, and is an error of a stop;
// what it returns before ends all.
func TestWorkerError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shift{result: func(context.Context) error { return io.ErrShortWrite }}
		r, hold := working(t, &s, newFake())
		if _, err := hold(time.Second); !errors.Is(err, io.ErrShortWrite) {
			t.Fatalf("hold: %v", err)
		}
		r.pending(t)
		if s.now.Load() != 1 {
			t.Fatal("it does not work again")
		}
		r.stop()
		r.returned(t, io.ErrShortWrite)
	})
	for _, err := range []error{nil, errTest} {
		synctest.Test(t, func(t *testing.T) {
			gen := newFake()
			r := start(gen, Worker(func(context.Context) error { return err }))
			want := err
			if err == nil {
				want = errReturned
			}
			time.Sleep(lastCall) // the generation might have been over, of which a worker is told first
			r.returned(t, want)
			if !errors.Is(gen.failed, want) {
				t.Errorf("the generation failed because of %v", gen.failed)
			}
		})
	}
	if s := Worker(nil); s.impl != nil {
		t.Errorf("a worker without a function: %v", s)
	}
}
