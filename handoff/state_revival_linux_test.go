package handoff_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
)

// TestStateRevival: what the section says decides whether a generation serves again that gets the sockets back from a
// successor that had owned them.
func TestStateRevival(t *testing.T) {
	ahead := func(c *cell, _ handoff.Section) handoff.Section {
		return handoff.Section{Ahead: c.write("ahead"), RestoreAhead: c.read("restore-ahead")}
	}
	for _, tt := range []struct {
		name    string
		section func(*cell, handoff.Section) handoff.Section
		fail    error // of Revived
		stale   bool
		calls   string // what is called in the incumbent
	}{
		{"forbid", nil, nil, true, "hold save"},
		{"keep", func(_ *cell, s handoff.Section) handoff.Section {
			s.Revival = handoff.RevivalKeep
			return s
		}, nil, false, "hold save release"},
		{"call", callRevived, nil, false, "hold save revived release"},
		{"call fails", callRevived, errNoSpace, true, "hold save revived"},
		{"ahead alone", ahead, nil, false, "ahead"},
		{"ahead alone, call", func(c *cell, s handoff.Section) handoff.Section {
			s = callRevived(c, ahead(c, s))
			return s
		}, nil, false, "ahead revived"},
	} {
		for _, when := range []string{"before confirm", "in the guard"} {
			t.Run(tt.name+" "+when, func(t *testing.T) {
				t.Parallel()
				c := config(t, rendezvous(t))
				c.Guard = time.Minute
				was, is := newCell("1"), newCell("")
				s := was.exact()
				if tt.section != nil {
					s = tt.section(was, s)
				}
				s.Probation = true
				was.fail = map[string]error{"revived": tt.fail}
				a, la := firstWith(t, c, s)
				draining := make(chan struct{})
				endA := waiting(t, a, func(ctx context.Context) error {
					close(draining)
					<-ctx.Done()
					return context.Cause(ctx)
				})
				cb := c
				if when == "before confirm" {
					cb.Probation = time.Minute
				}
				theirs := is.both()
				theirs.Probation = true
				b, _ := nextWith(t, cb, theirs)
				ready(t, b)
				if when == "in the guard" {
					await(t, "the drain", draining)
				} else {
					awaitPhase(t, a, handoff.PhaseGuarding)
				}
				unwell := errors.New("unwell")
				if err := b.Fail(unwell); err != nil {
					t.Fatal(err)
				}
				if tt.stale {
					err := result(t, "Wait", endA)
					wantErr(t, "Wait", err, handoff.ErrStale)
					if tt.fail != nil {
						wantErr(t, "Wait", err, tt.fail)
					}
					failedWith(t, a, handoff.ErrStale)
					awaitPhase(t, a, handoff.PhaseStopped)
					wantErr(t, "Upgrade", a.Upgrade(bounded(t)), handoff.ErrNotOwner)
					wantErr(t, "Wait again", a.Wait(bounded(t), nil), handoff.ErrStale)
				} else {
					awaitPhase(t, a, handoff.PhaseServing)
					serves(t, la)
					pending(t, "Wait", endA)
				}
				eventually(t, "the calls "+tt.calls, func() bool { return was.called() == tt.calls })
			})
		}
	}
}

func callRevived(c *cell, s handoff.Section) handoff.Section {
	s.Revival, s.Revived = handoff.RevivalCall, func(ctx context.Context) error { return c.call(ctx, "revived") }
	return s
}

// TestStateRevivalUnshared: a section that the successor does not have forbids nothing.
func TestStateRevivalUnshared(t *testing.T) {
	c := config(t, rendezvous(t))
	c.Guard = time.Minute
	a, la := firstWith(t, c, newCell("1").exact())
	b := join(t, c)
	listen(t, b, "tcp", "127.0.0.1:0")
	ready(t, b)
	superseded(t, a)
	if err := b.Fail(errors.New("unwell")); err != nil {
		t.Fatal(err)
	}
	awaitPhase(t, a, handoff.PhaseServing)
	serves(t, la)
}

// TestStateAfterRevival: a generation that was revived hands its state over as if nothing had been.
func TestStateAfterRevival(t *testing.T) {
	c := config(t, rendezvous(t))
	c.Guard = time.Minute
	was := newCell("1")
	s := was.exact()
	s.Revival = handoff.RevivalKeep
	a, _ := firstWith(t, c, s)
	b, _ := nextWith(t, c, newCell("").exact())
	ready(t, b)
	superseded(t, a)
	if err := b.Fail(errors.New("unwell")); err != nil {
		t.Fatal(err)
	}
	awaitPhase(t, a, handoff.PhaseServing)
	alone(t, a)
	was.set("2")
	is := newCell("")
	d, ld := nextWith(t, c, is.exact())
	supersedeReady(t, a, d)
	if is.get() != "2" {
		t.Errorf("restored %q", is.get())
	}
	serves(t, ld)
}

// supersedeReady has b take over from a, which guards it.
func supersedeReady(t *testing.T, a, b *handoff.Generation) {
	t.Helper()
	ready(t, b)
	superseded(t, a)
}
