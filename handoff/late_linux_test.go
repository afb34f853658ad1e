package handoff_test

import (
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// A successor that cannot be killed was stopped for longer than the incumbent's patience, and goes on. The incumbent has
// not taken the sockets back, so what the successor says then counts, and is answered.
func TestLateAnswers(t *testing.T) {
	owned := func(r *rawPeer) { r.owned(0) }
	confirmed := func(r *rawPeer) {
		r.owned(0)
		r.send(&wire.Confirm{})
		hear[*wire.Ping](r)
	}
	released := func(r *rawPeer) { hear[*wire.Released](r) }
	for _, tt := range []struct {
		name   string
		before func(r *rawPeer) // until it is stopped
		late   wire.Message
		after  func(r *rawPeer)
	}{
		{"PONG after the guard", confirmed, &wire.Pong{}, released},
		{"RELEASE after the guard", confirmed, &wire.Release{}, released},
		{"GOODBYE after the guard", confirmed, &wire.Goodbye{}, released},
		{"CONFIRM on probation", owned, &wire.Confirm{}, func(r *rawPeer) {
			hear[*wire.Ping](r)
			r.send(&wire.Pong{})
			released(r)
		}},
		{"GOODBYE on probation", owned, &wire.Goodbye{}, released},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := rendezvous(t)
			c := config(t, path)
			c.StepTimeout, c.Guard = 100*time.Millisecond, 100*time.Millisecond
			log := logs(t, &c)
			a, la := first(t, c)
			r := dialRaw(t, path)
			tt.before(r)
			log.says(t, "this process stays paused until it ends") // its patience is over
			r.send(tt.late)
			tt.after(r)
			superseded(t, a)
			await(t, "Released", a.Released())
			awaitPhase(t, a, handoff.PhaseDraining)
			pending(t, "Accept", accepting(t, la))
		})
	}
}
