package handoff

import "github.com/segue-go/segue/handoff/internal/succession"

// asIncumbentLocked lets the table decide what e means for what this generation is to its successor. The caller carries the actions
// out once it has let go of the lock and called tell.
func (g *Generation) asIncumbentLocked(e succession.IncumbentEvent) (do []succession.Action, tell func()) {
	from := g.toSuccessor
	to, do, ok := from.Step(e)
	g.toSuccessor = to
	entered := g.enterPhaseLocked()
	return do, func() { // without the lock: a Logger may ask the generation
		if !ok {
			g.log.Error("a case that cannot be; please report it", "side", "incumbent", "state", from, "event", e)
		}
		g.log.Debug("decided", "side", "incumbent", "state", from, "event", e, "next", to)
		entered()
	}
}

// asSuccessorLocked is the same for what this generation is to its predecessor.
func (g *Generation) asSuccessorLocked(e succession.SuccessorEvent) (do []succession.Action, tell func()) {
	from := g.toPredecessor
	to, do, ok := from.Step(e)
	g.toPredecessor = to
	entered := g.enterPhaseLocked()
	return do, func() { // without the lock: a Logger may ask the generation
		if !ok {
			g.log.Error("a case that cannot be; please report it", "side", "successor", "state", from, "event", e)
		}
		g.log.Debug("decided", "side", "successor", "state", from, "event", e, "next", to)
		entered()
	}
}

// enterPhaseLocked is the only place where the phase changes: it follows from the two states. The caller calls tell once it has
// let go of the lock: those who are told may ask the generation.
func (g *Generation) enterPhaseLocked() (tell func()) {
	from := g.phase
	to := Phase(succession.PhaseOf(g.toPredecessor, g.toSuccessor).String())
	if from == to || from == PhaseStopped {
		return func() {}
	}
	g.phase = to
	g.tellNewsLocked()
	return func() {
		g.log.Debug("phase", "from", from, "to", to)
		for _, s := range g.cfg.Sources {
			s.Phase(from, to)
		}
		if f := g.cfg.Trace.Phase; f != nil {
			f(from, to)
		}
	}
}

// tellNewsLocked wakes those who wait for news.
func (g *Generation) tellNewsLocked() {
	close(g.news)
	g.news = make(chan struct{})
}

// endStatesLocked ends both states, for a generation that holds nothing any more. What the actions would do has been done: flush
// has ended the departure, and bye has said BYE; letGo hangs up.
func (g *Generation) endStatesLocked() (tell func()) {
	switch g.toPredecessor {
	case succession.First, succession.Preparing, succession.PreparingHeir, succession.Inheriting, succession.Proving, succession.ProvingHeir:
		_, tell = g.asSuccessorLocked(succession.GiveUp)
	case succession.Leaving, succession.Returning, succession.Departing, succession.Draining:
		_, tell = g.asSuccessorLocked(succession.Drained)
	default:
		_, tell = g.asIncumbentLocked(succession.Close)
	}
	return tell
}
