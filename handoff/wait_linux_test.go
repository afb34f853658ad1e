package handoff_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// TestRevival: a successor that fails within the guard, here by putting the token back and talking nonsense, ends the
// drain's context; Accept goes on in the incumbent, and Wait awaits the next successor. Released is one channel all along.
func TestRevival(t *testing.T) {
	path := rendezvous(t)
	ca := config(t, path)
	ca.Guard = time.Minute
	a, la := first(t, ca)
	causes := make(chan error, 2)
	drains := make(chan struct{}, 2)
	last := make(chan struct{})
	end := waiting(t, a, func(ctx context.Context) error {
		drains <- struct{}{}
		select {
		case <-ctx.Done():
			causes <- context.Cause(ctx)
			return ctx.Err()
		case <-last:
			return nil
		}
	})
	released := a.Released()
	inA := accepting(t, la)
	r := dialRaw(t, path)
	r.owned(0)
	r.send(&wire.Confirm{})
	result(t, "the drain", drains)
	pending(t, "Accept of a superseded generation", inA)
	r.putToken()
	r.sendBytes([]byte("{"))
	if err := result(t, "the end of drain's context", causes); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drain's context ends with %v", err)
	}
	awaitPhase(t, a, handoff.PhaseServing)
	queued(t, la.Addr(), 1)
	if err := result(t, "Accept after the revival", inA); err != nil {
		t.Fatal(err)
	}
	failedWith(t, a, handoff.ErrProtocol)
	pending(t, "Released", released)
	pending(t, "Wait", end)

	// The next one does better.
	eventually(t, "the end of the attempt", func() bool { return a.Status().Successor == 0 })
	b := join(t, config(t, path))
	lb := listen(t, b, "tcp", "127.0.0.1:0")
	ready(t, b)
	superseded(t, a)
	serves(t, lb)
	result(t, "the drain", drains)
	pending(t, "Released in the second guard", released)
	shut(t, a) // ends the guard, but not the drain
	await(t, "the Released that was asked for before the revival", released)
	pending(t, "Wait", end)
	close(last)
	wantErr(t, "Wait", result(t, "Wait", end), net.ErrClosed)
}

// TestDrain: what Wait makes of its context, of DrainTimeout and of drain's error.
func TestDrain(t *testing.T) {
	handedOver := func(t *testing.T, c handoff.Config) *handoff.Generation {
		t.Helper()
		a, _ := first(t, c)
		b := join(t, config(t, c.Path))
		ready(t, b)
		return a
	}
	t.Run("its context ends after DrainTimeout", func(t *testing.T) {
		c, log := logged(t, rendezvous(t))
		c.DrainTimeout = moment
		a := handedOver(t, c)
		err := result(t, "Wait", waiting(t, a, func(ctx context.Context) error {
			<-ctx.Done()
			wantErr(t, "drain's context", ctx.Err(), context.DeadlineExceeded)
			return ctx.Err()
		}))
		if err != nil {
			t.Errorf("Wait: %v", err)
		}
		if log := log.String(); !strings.Contains(log, "drain was ended") {
			t.Errorf("logged:\n%s", log)
		}
	})
	t.Run("negative DrainTimeout is no bound", func(t *testing.T) {
		c := config(t, rendezvous(t))
		c.DrainTimeout = -1
		a := handedOver(t, c)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if err := a.Wait(ctx, func(ctx context.Context) error {
			if _, ok := ctx.Deadline(); ok {
				t.Error("there is a deadline")
			}
			return nil
		}); err != nil {
			t.Errorf("Wait: %v", err)
		}
	})
	t.Run("its error is returned", func(t *testing.T) {
		a := handedOver(t, config(t, rendezvous(t)))
		err := result(t, "Wait", waiting(t, a, func(context.Context) error { return errUnwell }))
		wantErr(t, "Wait", err, errUnwell)
		if p := a.Status().Phase; p != handoff.PhaseStopped {
			t.Errorf("it is %s", p)
		}
	})
	t.Run("Wait's context ends first", func(t *testing.T) {
		c, log := logged(t, rendezvous(t))
		c.Guard = time.Minute
		a, la := first(t, c)
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errUnwell)
		wantErr(t, "Wait while it serves", a.Wait(ctx, nil), errUnwell)
		serves(t, la) // it is as it was
		b := join(t, config(t, c.Path))
		lb := listen(t, b, "tcp", "127.0.0.1:0")
		ready(t, b)
		superseded(t, a)
		ctx, cancel = context.WithCancelCause(context.Background())
		defer cancel(nil)
		end := make(chan error, 1)
		go func() {
			end <- a.Wait(ctx, func(ctx context.Context) error {
				cancel(errUnwell)
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		wantErr(t, "Wait while it drains", result(t, "Wait", end), errUnwell)
		if log := log.String(); strings.Contains(log, "drain was ended") { // nobody is cut: the caller may finish what is left
			t.Errorf("logged:\n%s", log)
		}
		serves(t, lb)
	})
	t.Run("no drain", func(t *testing.T) {
		a := handedOver(t, config(t, rendezvous(t)))
		if err := result(t, "Wait", waiting(t, a, nil)); err != nil {
			t.Errorf("Wait: %v", err)
		}
		wantErr(t, "a second Wait", a.Wait(bounded(t), nil), net.ErrClosed)
	})
}

// TestNoGuard: with a negative Guard it is released as soon as the successor has confirmed.
func TestNoGuard(t *testing.T) {
	path := rendezvous(t)
	c := config(t, path)
	c.Guard = -1
	a, la := first(t, c)
	b := join(t, config(t, path))
	lb := listen(t, b, "tcp", "127.0.0.1:0")
	ready(t, b)
	await(t, "Released", a.Released())
	shut(t, b)
	refused(t, "dial", la.Addr()) // it holds no copy
	wantErr(t, "Accept", result(t, "Accept", accepting(t, lb)), net.ErrClosed)
	if err := result(t, "Wait", waiting(t, a, nil)); err != nil {
		t.Fatal(err)
	}
}

// TestGuardReleases: after the guard a successor that answers is left alone, and one that does not, is not.
func TestGuardReleases(t *testing.T) {
	path := rendezvous(t)
	a, la := first(t, config(t, path))
	r := dialRaw(t, path)
	r.owned(0)
	r.send(&wire.Confirm{})
	hear[*wire.Ping](r)
	r.send(&wire.Pong{})
	hear[*wire.Released](r)
	await(t, "Released", a.Released())
	if err := result(t, "Wait", waiting(t, a, nil)); err != nil {
		t.Fatal(err)
	}
	hear[*wire.Bye](r)
	r.close()
	refused(t, "dial", la.Addr())

	path = rendezvous(t)
	ca := config(t, path)
	ca.StepTimeout = 100 * time.Millisecond
	a, la = first(t, ca)
	r = dialRaw(t, path)
	r.owned(0)
	r.send(&wire.Confirm{})
	hear[*wire.Ping](r)
	r.putToken() // it does not answer, but it owns no more
	awaitPhase(t, a, handoff.PhaseServing)
	serves(t, la)
}

// TestChain: many generations after another, each of which drains for a while; only one ancestor is revivable.
func TestChain(t *testing.T) {
	path := rendezvous(t)
	c := config(t, path)
	c.Guard = time.Minute
	last, l := first(t, c)
	stop := make(chan struct{})
	var ends []<-chan error
	var older []*handoff.Generation
	for range 6 {
		g := join(t, c)
		lg := listen(t, g, "tcp", "127.0.0.1:0")
		if lg.Addr().String() != l.Addr().String() {
			t.Fatal("another address")
		}
		ready(t, g)
		superseded(t, last)
		for _, o := range older {
			await(t, "Released", o.Released())
		}
		pending(t, "Released of the one ancestor", last.Released())
		ends = append(ends, waiting(t, last, func(context.Context) error { <-stop; return nil }))
		older = append(older, last)
		last = g
		serves(t, lg)
	}
	if n := last.Status().Generation; n != 7 {
		t.Errorf("it is generation %d", n)
	}
	shut(t, last)
	close(stop)
	for _, end := range ends {
		if err := result(t, "Wait", end); err != nil {
			t.Error(err)
		}
	}
	refused(t, "dial", l.Addr())
}
