package succession

// check says what must never be, in any world. It returns "" if all is well.
func (m *model) check(w *world) string {
	owners := 0
	for i := range w.procs {
		g := &w.procs[i]
		if !g.alive() {
			continue
		}
		if m.isRaw && i == m.raw {
			continue
		}
		if g.has(accepts) {
			owners++
		}
		if s := m.checkProcess(w, i, g); s != "" {
			return s
		}
	}
	if owners > 1 {
		return "two generations accept"
	}
	return ""
}

func (m *model) checkProcess(w *world, i int, g *process) string {
	l := &w.links[i]
	if g.sucJob() != noJob {
		return ""
	}
	switch g.suc {
	case Trial, TrialSevered, TrialAlone, Confirmed, Answered, Severed, Free, Alone, Leaving, LeavingTrial:
		switch {
		case !g.has(began):
			return "it has not begun to serve"
		case (g.inc == Idle || g.inc == Offering) && !g.has(accepts):
			return "an owner does not accept"
		case g.inc == Idle && g.has(superseded|parked|departing):
			return "an owner drains"
		case g.inc != Idle && g.inc != Offering && g.inc != Pausing && g.inc != Closed && g.has(accepts):
			return "it accepts, and does not own"
		}
	default:
		if g.has(accepts) {
			return "it accepts, and does not own"
		}
	}
	switch g.suc {
	case Confirmed, Answered, Severed, Free, Alone:
		if !g.has(announced) {
			return "the PID file is not its own"
		}
	case Trial, TrialSevered, LeavingTrial:
		if g.has(announced) {
			return "the PID file is its own too early"
		}
	}
	if i > 0 {
		switch g.suc {
		case Gone, Draining, TrialSevered, TrialAlone, Severed, Alone:
			if !l.has(upHung) {
				return "it keeps a link that it does not use"
			}
		}
		switch g.suc {
		case TrialAlone, Alone, Free:
			if l.bits != 0 && !l.has(settled) && w.procs[before[i]].alive() && l.has(active) {
				return "the Sources wait for ever"
			}
		}
		if (g.suc == Returning || g.suc == Departing) && l.has(upHung) {
			return "it waits for an answer over a link that is closed"
		}
		if g.suc == Trial && l.has(settled) || g.suc == Draining && g.has(departing) {
			return "what has ended goes on"
		}
	}
	return m.checkIncumbent(w, i, g)
}

func (m *model) checkIncumbent(w *world, i int, g *process) string {
	n := after[i]
	if n < 0 || g.incJob() != noJob {
		return ""
	}
	l := &w.links[n]
	switch g.inc {
	case Unconfirmed, BlockedOwned:
		if g.has(superseded) || !g.has(parked) || l.has(dropKept) {
			return "it is not parked, or drains too early"
		}
	case Guard, Probing, Asking, BlockedGuard:
		if !g.has(superseded) || !g.has(departing) {
			return "it is superseded, and does not drain"
		}
		if g.inc == Guard && l.has(overdue) {
			return "the batch is not excused"
		}
	case Released, Relieved, ReleasedUnconfirmed:
		if !g.has(superseded) || !g.has(promised) {
			return "it is released, and does not drain"
		}
		if l.has(endSeen) && !l.has(wished) && l.has(active) {
			return "the link has ended, and connections are still to go"
		}
	case Offering, Pausing, Committed, BlockedCommitted:
		if g.has(superseded | departing) {
			return "it drains, and nobody has confirmed"
		}
	case ReleasedAlone, Orphaned, Closed, Stale:
		if g.has(departing) && g.suc != Departing {
			return "connections go to nobody"
		}
	case Idle:
		if l.has(active) {
			return "nobody looks at the link"
		}
	}
	return ""
}

// rest says what is wrong in a world in which nothing goes on.
func (m *model) rest(w *world) string {
	if m.isRaw {
		return m.rawRest(w)
	}
	owner := false
	for i := range w.procs {
		g := &w.procs[i]
		if !g.alive() {
			continue
		}
		owner = owner || g.has(accepts)
		switch {
		case g.suc == Alone && g.inc == Idle:
		case m.waits(w, i):
		default:
			return slotNames[i] + " waits for ever in " + g.suc.String() + "/" + g.inc.String()
		}
	}
	if d := w.duty(); d != noDuty && !owner {
		return "nobody serves, and " + slotNames[d] + " should"
	}
	return ""
}

// waits reports whether the generation at i may wait for a death that may never come: its successor owns, cannot be
// killed, and their link has ended; or it is that successor.
func (m *model) waits(w *world, i int) bool {
	blocked := func(p, n int) bool {
		g, s, l := &w.procs[p], &w.procs[n], &w.links[n]
		switch g.inc {
		case BlockedCommitted, BlockedOwned, BlockedGuard:
			return s.alive() && !s.has(killable) && l.has(upHung) && s.has(accepts) && l.has(took)
		}
		return false
	}
	g := &w.procs[i]
	if n := after[i]; n > 0 && blocked(i, n) {
		return true
	}
	return i > 0 && g.suc == Severed && g.inc == Idle && blocked(before[i], i)
}
