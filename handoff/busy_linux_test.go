package handoff_test

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// TestBusy: one successor at a time; the second is told who is first, and how far.
func TestBusy(t *testing.T) {
	path := rendezvous(t)
	a, la := first(t, config(t, path))
	b := join(t, config(t, path))
	lb := listen(t, b, "tcp", "127.0.0.1:0")
	for range 3 {
		_, err := handoff.Join(bounded(t), config(t, path))
		wantErr(t, "the second Join", err, handoff.ErrBusy)
		var busy *handoff.BusyError
		if !errors.As(err, &busy) || busy.PID != os.Getpid() || busy.Name == "" || busy.Phase != handoff.PhaseOffering {
			t.Fatalf("the second Join: %#v", err)
		}
	}
	wantErr(t, "Upgrade meanwhile", a.Upgrade(bounded(t)), handoff.ErrBusy)
	r := dialRaw(t, path)
	r.send(hello())
	if m := hangsUpWith[*wire.Busy](r); m.Owner != os.Getpid() || m.PID != os.Getpid() || m.Phase != "offering" {
		t.Errorf("raw: %+v", m)
	}
	serves(t, la)
	supersede(t, a, b) // the first is not disturbed
	serves(t, lb)
}

// TestJoinBeforeReady: who joins before the incumbent is ready waits for it.
func TestJoinBeforeReady(t *testing.T) {
	path := rendezvous(t)
	a := join(t, config(t, path))
	type joined struct {
		g   *handoff.Generation
		err error
	}
	c := make(chan joined, 1)
	ctx := bounded(t)
	cb := config(t, path)
	go func() {
		g, err := handoff.Join(ctx, cb)
		c <- joined{g, err}
	}()
	pending(t, "Join", c)
	listen(t, a, "tcp", "127.0.0.1:0")
	ready(t, a)
	b := result(t, "Join", c)
	if b.err != nil {
		t.Fatal(b.err)
	}
	t.Cleanup(func() { shut(t, b.g) })
	lb := listen(t, b.g, "tcp", "127.0.0.1:0")
	if !b.g.Status().Sockets[0].Inherited {
		t.Error("what was opened before Ready is not inherited")
	}
	supersede(t, a, b.g)
	serves(t, lb)
}

// TestJoinEnds: Join ends with its context, and with an incumbent that is closed before it is ready.
func TestJoinEnds(t *testing.T) {
	path := rendezvous(t)
	a := join(t, config(t, path))
	ctx, cancel := context.WithCancelCause(context.Background())
	c := config(t, path)
	ends := make(chan error, 1)
	go func() {
		_, err := handoff.Join(ctx, c)
		ends <- err
	}()
	pending(t, "Join", ends)
	cancel(errUnwell)
	wantErr(t, "Join", result(t, "Join", ends), errUnwell)

	eventually(t, "the end of the attempt", func() bool { return a.Status().Successor == 0 })
	// The next one takes the place of an incumbent that leaves without having served.
	next := make(chan *handoff.Generation, 1)
	go func() {
		g, err := handoff.Join(context.Background(), c)
		if err != nil {
			t.Errorf("Join: %v", err)
		}
		next <- g
	}()
	pending(t, "Join", next)
	shut(t, a)
	g := result(t, "Join", next)
	if g == nil {
		return
	}
	defer shut(t, g)
	l := listen(t, g, "tcp", "127.0.0.1:0")
	ready(t, g)
	serves(t, l)
}

// TestReadyTimeout: a successor that never calls Ready is ended, and the next one is welcome.
func TestReadyTimeout(t *testing.T) {
	path := rendezvous(t)
	c := config(t, path)
	c.ReadyTimeout = 100 * time.Millisecond
	a, la := first(t, c)
	b := join(t, config(t, path))
	lb := listen(t, b, "tcp", "127.0.0.1:0")
	inB := accepting(t, lb)
	awaitPhase(t, b, handoff.PhaseStopped)
	wantErr(t, "Accept in the late successor", result(t, "Accept", inB), net.ErrClosed)
	if err := b.Ready(bounded(t)); err == nil {
		t.Fatal("Ready after the end: nil")
	}
	failedWith(t, a, os.ErrDeadlineExceeded)
	awaitPhase(t, a, handoff.PhaseServing)
	serves(t, la)
	eventually(t, "the end of the attempt", func() bool { return a.Status().Successor == 0 })
	d := join(t, config(t, path))
	ld := listen(t, d, "tcp", "127.0.0.1:0")
	supersede(t, a, d)
	serves(t, ld)
}

// TestReadyEnds: its context bounds Ready, and then nothing has changed.
func TestReadyEnds(t *testing.T) {
	path := rendezvous(t)
	a, la := first(t, config(t, path))
	b := join(t, config(t, path))
	listen(t, b, "tcp", "127.0.0.1:0")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errUnwell)
	if err := b.Ready(ctx); err == nil {
		// It may have been quicker than the context; then it owns.
		if b.Status().Phase != handoff.PhaseServing {
			t.Errorf("Ready is nil, but it is %s", b.Status().Phase)
		}
		return
	}
	awaitPhase(t, a, handoff.PhaseServing)
	serves(t, la)
	wantErr(t, "Ready again", b.Ready(bounded(t)), net.ErrClosed)
}

// TestReadyTwice: a second Ready finds what it wants.
func TestReadyTwice(t *testing.T) {
	path := rendezvous(t)
	a, _ := first(t, config(t, path))
	ready(t, a)
	b := join(t, config(t, path))
	supersede(t, a, b)
	ready(t, b)
	wantErr(t, "Ready of a superseded generation", a.Ready(bounded(t)), net.ErrClosed)
}

// TestConcurrentReady: of several calls at once none fails for the others' sake, or claims what is not.
func TestConcurrentReady(t *testing.T) {
	path := rendezvous(t)
	a, _ := first(t, config(t, path))
	b := join(t, config(t, path))
	lb := listen(t, b, "tcp", "127.0.0.1:0")
	ctx := bounded(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := b.Ready(ctx); err != nil {
				t.Errorf("Ready: %v", err)
			}
		})
	}
	within(t, "Ready", wg.Wait)
	if err := result(t, "Wait", waiting(t, a, nil)); err != nil {
		t.Fatal(err)
	}
	serves(t, lb)
}

// TestPathless: one Generation without a Path per process, for they would take each other's successors.
func TestPathless(t *testing.T) {
	for range 2 {
		a := join(t, config(t, ""))
		_, err := handoff.Join(bounded(t), config(t, ""))
		wantErr(t, "the second Join without a Path", err, handoff.ErrPathless)
		b, _ := first(t, config(t, rendezvous(t))) // with a Path there may be any number
		l := listen(t, a, "tcp", "127.0.0.1:0")
		ready(t, a)
		serves(t, l)
		shut(t, b)
		shut(t, a)
	}
}
