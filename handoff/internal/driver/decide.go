package driver

import (
	"fmt"

	"github.com/segue-go/segue/handoff/internal/succession"
)

// decision is what a table has decided. It is reported once the lock is free: a Logger may ask the generation.
type decision struct {
	side            string
	from, event, to fmt.Stringer
	known           bool // the table has a row for it
	do              []succession.Action
	before, after   Phase
}

// asIncumbentLocked lets the table decide what e means for what this generation is to its successor. The caller reports that, and
// carries the actions out, once it has unlocked.
func (d *Driver) asIncumbentLocked(e succession.IncumbentEvent) decision {
	from, before := d.toSuccessor, d.phase
	to, do, ok := from.Step(e)
	d.toSuccessor = to
	d.enterPhaseLocked()
	return decision{side: "incumbent", from: from, event: e, to: to, known: ok, do: do, before: before, after: d.phase}
}

// asSuccessorLocked is the same for what this generation is to its predecessor.
func (d *Driver) asSuccessorLocked(e succession.SuccessorEvent) decision {
	from, before := d.toPredecessor, d.phase
	to, do, ok := from.Step(e)
	d.toPredecessor = to
	d.enterPhaseLocked()
	return decision{side: "successor", from: from, event: e, to: to, known: ok, do: do, before: before, after: d.phase}
}

// enterPhaseLocked sets the phase that follows from the two states. Nothing else does.
func (d *Driver) enterPhaseLocked() {
	to := succession.PhaseOf(d.toPredecessor, d.toSuccessor)
	if to != d.phase && d.phase != succession.PhaseStopped {
		d.phase = to
		d.journal.note(to)
		d.tellNewsLocked()
	}
}

// report tells the log, and the program if the phase has changed.
func (d *Driver) report(x decision) {
	if !x.known {
		d.log.Error("a case that cannot be; please report it", "side", x.side, "state", x.from, "event", x.event)
	}
	d.log.Debug("decided", "side", x.side, "state", x.from, "event", x.event, "next", x.to)
	if x.before == x.after {
		return
	}
	d.log.Debug("phase", "from", x.before, "to", x.after)
	if f := d.cfg.Phase; f != nil {
		f(x.before, x.after)
	}
	d.tracePhase(x.before, x.after)
	if f := d.trace.Drain; f != nil && x.after == succession.PhaseDraining {
		d.task(func() { d.traceDrain(f) })
	}
}

// tellNewsLocked wakes all goroutines that wait for news.
func (d *Driver) tellNewsLocked() {
	close(d.news)
	d.news = make(chan struct{})
}

// endStatesLocked decides that this generation is over. It holds nothing any more. One event is enough:
//
//	This generation         Event
//	has not owned           GiveUp
//	leaves, or handed back  Drained
//	does neither            Close, of the incumbent's table
//
// The caller does not carry the actions out, because others do the same: flush has ended the departure, sayBye has said BYE, and
// closeChain hangs up next.
func (d *Driver) endStatesLocked() decision {
	switch d.toPredecessor {
	case succession.First, succession.Preparing, succession.PreparingHeir, succession.Inheriting, succession.Proving, succession.ProvingHeir:
		return d.asSuccessorLocked(succession.GiveUp)
	case succession.Leaving, succession.LeavingTrial, succession.Returning, succession.Departing, succession.Draining:
		return d.asSuccessorLocked(succession.Drained)
	default:
		return d.asIncumbentLocked(succession.Close)
	}
}
