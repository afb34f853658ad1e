package handoff_test

import (
	"errors"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
)

// A generation that fails in its predecessor's guard gives the sockets back, also while a successor of its own prepares.
func TestFailWhileAnotherPrepares(t *testing.T) {
	c := config(t, rendezvous(t))
	c.Guard = time.Minute
	a, l := first(t, c)
	b := join(t, c)
	listen(t, b, "tcp", "127.0.0.1:0")
	ready(t, b)
	superseded(t, a)
	d := join(t, c)
	broken := errors.New("broken")
	if err := b.Fail(broken); err != nil {
		t.Fatal(err)
	}
	serves(t, l)
	if err := b.Wait(t.Context(), nil); !errors.Is(err, handoff.ErrHandedBack) || !errors.Is(err, broken) {
		t.Errorf("Wait: %v, want ErrHandedBack and the cause", err)
	}
	if err := d.Ready(t.Context()); err == nil {
		t.Error("the one that prepared itself owns")
	}
	eventually(t, "the first generation serves", func() bool { return a.Status().Phase == handoff.PhaseServing })
}
