package handoff_test

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
)

var errUnwell = errors.New("the database is not there")

// TestCheckHandsBack: a successor that finds itself unwell after it owns gives everything back, and the incumbent goes
// on with the same listener.
func TestCheckHandsBack(t *testing.T) {
	path := rendezvous(t)
	a, la := first(t, config(t, path))
	released := a.Released()
	endA := waiting(t, a, func(context.Context) error { t.Error("drained"); return nil })
	for range 2 {
		c := config(t, path)
		gate := make(chan struct{})
		c.Check = func(context.Context) error { <-gate; return errUnwell }
		b := join(t, c)
		lb := listen(t, b, "tcp", "127.0.0.1:0")
		inA := accepting(t, la)
		ready(t, b)
		if p := b.Status().Phase; p != handoff.PhaseProbation {
			t.Errorf("the successor is %s", p)
		}
		awaitPhase(t, a, handoff.PhaseGuarding)
		serves(t, lb)
		drained := make(chan struct{})
		endB := waiting(t, b, func(context.Context) error { close(drained); return nil })
		inB := accepting(t, lb)
		pending(t, "Accept in the incumbent", inA)
		close(gate)
		err := result(t, "Wait of the successor", endB)
		wantErr(t, "Wait of the successor", err, handoff.ErrHandedBack)
		wantErr(t, "Wait of the successor", err, errUnwell)
		await(t, "the successor's drain", drained)
		wantErr(t, "Accept in the successor", result(t, "Accept", inB), net.ErrClosed)
		awaitPhase(t, a, handoff.PhaseServing)
		failedWith(t, a, handoff.ErrAborted)
		queued(t, la.Addr(), 1)
		if err := result(t, "Accept in the incumbent", inA); err != nil {
			t.Fatal(err)
		}
		serves(t, la)
		shut(t, b)
		eventually(t, "the end of the attempt", func() bool { return a.Status().Successor == 0 })
	}
	pending(t, "Released", released)
	shut(t, a)
	wantErr(t, "Wait of the incumbent", result(t, "Wait", endA), net.ErrClosed)
}

// TestCheckConfirms: nil confirms; until then the incumbent is not superseded.
func TestCheckConfirms(t *testing.T) {
	path := rendezvous(t)
	a, _ := first(t, config(t, path))
	c := config(t, path)
	c.Probation = moment
	gate, asked := make(chan struct{}), make(chan struct{})
	c.Check = func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("Check has no deadline")
		}
		close(asked)
		<-gate
		return nil
	}
	b := join(t, c)
	lb := listen(t, b, "tcp", "127.0.0.1:0")
	ready(t, b)
	await(t, "Check", asked)
	serves(t, lb)
	// One that has itself to prove is not succeeded.
	_, err := handoff.Join(bounded(t), config(t, path))
	var busy *handoff.BusyError
	if !errors.As(err, &busy) || busy.Phase != handoff.PhaseProbation || busy.PID != os.Getpid() {
		t.Errorf("joining one on probation: %v", err)
	}
	wantErr(t, "Join", err, handoff.ErrBusy)
	if p := a.Status().Phase; p != handoff.PhaseGuarding {
		t.Errorf("before the successor has confirmed the incumbent is %s", p)
	}
	close(gate)
	superseded(t, a)
	awaitPhase(t, b, handoff.PhaseServing)
	if err := result(t, "Wait", waiting(t, a, nil)); err != nil {
		t.Fatal(err)
	}
	serves(t, join3(t, path, b))
}

// TestNotConfirmed: a successor that owns and does not confirm in time is ended if it can be. It cannot be here, since
// it is this very process, so the incumbent stays paused until the successor puts the token back. At no time do two serve.
func TestNotConfirmed(t *testing.T) {
	path := rendezvous(t)
	ca := config(t, path)
	ca.StepTimeout = 100 * time.Millisecond
	a, la := first(t, ca)
	r := dialRaw(t, path)
	r.owned(0)
	awaitPhase(t, a, handoff.PhaseGuarding)
	inA := accepting(t, la)
	queued(t, la.Addr(), 1)
	select { // past the deadline for CONFIRM
	case err := <-inA:
		t.Fatalf("the incumbent accepts (%v) while the successor owns", err)
	case <-time.After(3 * ca.StepTimeout):
	}
	r.putToken()
	r.send(&wire.Failed{Reason: "no more", Returned: true})
	if err := result(t, "Accept in the incumbent", inA); err != nil {
		t.Fatal(err)
	}
	awaitPhase(t, a, handoff.PhaseServing)
	failedWith(t, a, os.ErrDeadlineExceeded)
}

// TestSlowOwned: OWNED that comes too late, but before anybody was ended, is still OWNED.
func TestSlowOwned(t *testing.T) {
	path := rendezvous(t)
	ca := config(t, path)
	ca.StepTimeout = 100 * time.Millisecond
	log := logs(t, &ca)
	a, _ := first(t, ca)
	r := dialRaw(t, path)
	r.committed(0)
	if !r.takeToken() {
		t.Fatal("no token")
	}
	log.says(t, "this process stays paused until it ends") // its patience is over
	r.send(&wire.Owned{})
	r.send(&wire.Confirm{})
	superseded(t, a)
}

// TestTokenTakenBack: one that does not take the token in time finds it gone.
func TestTokenTakenBack(t *testing.T) {
	path := rendezvous(t)
	ca := config(t, path)
	ca.StepTimeout = 100 * time.Millisecond
	a, la := first(t, ca)
	r := dialRaw(t, path)
	r.committed(0)
	awaitPhase(t, a, handoff.PhaseServing)
	if r.takeToken() {
		t.Fatal("two own")
	}
	serves(t, la)
	failedWith(t, a, os.ErrDeadlineExceeded)
	r.hangsUp()
}

// TestDropBeforeOwned: a program may close a socket in the instant in which it owns it.
func TestDropBeforeOwned(t *testing.T) {
	path := rendezvous(t)
	a, la := first(t, config(t, path))
	r := dialRaw(t, path)
	r.committed(0)
	if !r.takeToken() {
		t.Fatal("no token")
	}
	_ = r.fd("tcp/127.0.0.1:0").Close()
	r.send(&wire.Drop{Item: 0})
	r.send(&wire.Drop{Item: 60000}) // there is none
	r.send(&wire.Owned{})
	r.send(&wire.Confirm{})
	superseded(t, a)
	eventuallyRefused(t, "dial", la.Addr())
}
