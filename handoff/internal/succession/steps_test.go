package succession

// steps emits each world that may follow w, and whether the step is progress: something that happens if nothing more goes
// wrong.
func (m *model) steps(w *world) {
	for p := range w.procs {
		g := &w.procs[p]
		if m.isRaw && p == m.raw && g.life != absent {
			if g.alive() {
				m.rawSteps(w, p)
			}
			continue
		}
		if g.life == stopped {
			m.simple(w, p, "continues", true, func(n *world) { n.procs[p].life = running })
		}
		if g.life == running {
			m.successorSteps(w, p)
			m.incumbentSteps(w, p)
			m.programSteps(w, p)
		}
		if g.alive() && (m.budget == 0 || w.budget() > 0) {
			m.faultSteps(w, p)
		}
	}
}

// simple emits a step that neither table decides.
func (m *model) simple(w *world, p int, what string, progress bool, f func(n *world)) {
	m.begin(slotNames[p], what)
	n := *w
	f(&n)
	m.end(&n, progress)
}

func (m *model) begin(who, what string) {
	m.note = note{who: who, what: what}
	m.wrong = ""
}

// end emits n, without what cannot matter any more.
func (m *model) end(n *world, progress bool) {
	if !progress && m.budget > 0 && (m.note.inc == nil || m.note.event != uint8(Begin)) && m.note.who != "" && n.budget() > 0 {
		n.misc -= 1 << budgetShift
	}
	for i := range n.procs {
		g := &n.procs[i]
		if g.life == killed || g.life == ended {
			*g = process{life: g.life, inc: Closed, suc: Gone}
		}
		if i == 0 {
			continue
		}
		l := &n.links[i]
		if !g.alive() && !n.procs[before[i]].alive() {
			*l = conn{}
			continue
		}
		if !g.alive() && g.life != absent {
			l.set(upHung)
			l.clear(returns | aborted | settled)
		}
		if b := n.procs[before[i]].life; b == killed || b == ended {
			l.set(downHung)
			l.clear(active | aborted | returns)
		}
		if l.has(upHung) {
			l.down = 0
		}
		if l.has(downHung) {
			l.up = 0
		}
		if !l.has(active | returns) {
			l.up = 0
		}
		if !l.has(active|aborted|returns) && g.life != absent && l.has(upHung) {
			// nobody looks at it any more but for what the successor holds
			l.bits &= hasToken | took | upHung | downHung
			if !g.alive() {
				*l = conn{}
			}
		}
	}
	m.emit(n, progress)
}

// inc and suc emit a step of a table.
func (m *model) incStep(w *world, p int, e IncumbentEvent, progress bool, f func(n *world)) {
	m.begin("", "")
	n := *w
	if f != nil {
		f(&n)
	}
	m.incEvent(&n, p, e)
	m.end(&n, progress)
}

func (m *model) sucStep(w *world, p int, e SuccessorEvent, progress bool, f func(n *world)) {
	m.begin("", "")
	n := *w
	if f != nil {
		f(&n)
	}
	m.sucEvent(&n, p, e)
	m.end(&n, progress)
}

// incumbentSteps is what a driver does for the incumbent at p.
func (m *model) incumbentSteps(w *world, p int) {
	n := after[p]
	if p == leftover || n < 0 {
		m.closeIncumbent(w, p)
		return
	}
	g, l := &w.procs[p], &w.links[n]
	if p == 0 {
		m.returningSteps(w, leftover)
	}
	m.returningSteps(w, n)
	if j := g.incJob(); j != noJob {
		m.incumbentJob(w, p, j)
		return
	}
	m.closeIncumbent(w, p)
	if g.inc == Offering {
		m.offeringSteps(w, p)
	}
	if !l.has(active) {
		return
	}
	if f := l.up.head(); f != 0 {
		m.hear(w, p, f)
		return // all that follows comes after what is queued
	}
	if !g.inc.Waits() {
		return
	}
	if m.endSteps(w, p) {
		return
	}
	if m.may(timeouts) {
		switch g.inc {
		case Committed, Unconfirmed, Probing, Asking:
			m.incStep(w, p, Timeout, true, nil)
		}
	}
	if (g.inc == Guard || g.inc == Probing) && !l.has(guardOver) {
		m.incStep(w, p, GuardOver, true, func(v *world) { v.links[n].set(guardOver) })
	}
	m.extraIncumbent(w, p)
}

// endSteps is the end of the link, and after it the successor's death. It reports whether there is nothing else to report.
func (m *model) endSteps(w *world, p int) bool {
	n := after[p]
	g, s, l := &w.procs[p], &w.procs[n], &w.links[n]
	dead := !s.alive()
	bit := endSeen
	switch {
	case !l.has(endSeen) && !dead && !l.has(upHung):
		return false
	case !l.has(endSeen) && !dead:
		m.incStep(w, p, LinkEnd, true, func(v *world) { v.links[n].set(endSeen) })
		return true
	case l.has(endSeen):
		bit = deathSeen
		if !dead || l.has(deathSeen) {
			return true
		}
	}
	if s.life == ended && g.inc != Committed && g.inc != Relieved {
		m.incStep(w, p, DiedWished, true, func(v *world) { v.links[n].set(bit | wished) })
	}
	if !l.has(wished) { // that may not be known
		m.incStep(w, p, Died, true, func(v *world) { v.links[n].set(bit) })
	}
	return true
}

// saysReturned reports whether the successor says next that the token is back.
func saysReturned(q queue) bool {
	for ; q != 0; q >>= 4 {
		switch q.head() {
		case fReturned:
			return true
		case fFailed:
			return false
		}
	}
	return false
}

// hear lets the incumbent at p read f.
func (m *model) hear(w *world, p int, f frame) {
	n := after[p]
	i := w.procs[p].inc
	if !i.Waits() || w.links[n].has(endSeen) {
		return
	}
	l := &w.links[n]
	e := upEvents[f]
	switch {
	case e == Owned && i == Committed && l.has(hasToken) && !saysReturned(l.up):
		e = OwnedUnread
	case (e == Pong || e == ReleaseAsked) && !w.procs[n].alive():
		e = OtherFrame
	}
	m.incStep(w, p, e, true, func(v *world) {
		l := &v.links[n]
		l.up >>= 4
		switch e {
		case Drop:
			l.set(dropRead)
		case Taken:
			l.set(takenRead)
		case Returned:
			l.set(returned)
		}
		if e == Taken && (i == Unconfirmed || i == Committed || i == BlockedCommitted || i == BlockedOwned) {
			l.clear(takenRead) // it has sent nothing
		}
	})
}

// offeringSteps is the preparation, which the table sees as one.
func (m *model) offeringSteps(w *world, p int) {
	n := after[p]
	g, s, l := &w.procs[p], &w.procs[n], &w.links[n]
	if g.has(closing) && l.has(heir) && l.has(foreign) {
		m.incStep(w, p, CloseForHeir, true, nil)
		if !m.may(mishaps) { // what only one process may have is not let go of
			return
		}
	}
	pop := func(v *world) { v.links[n].up >>= 4 }
	if g.suc == Returning || g.suc == Departing || g.suc == Draining || m.gone(g) {
		m.incStep(w, p, AttemptFailed, true, nil)
		return
	}
	switch f := l.up.head(); {
	case f == fPrepared:
		m.simple(w, p, "reads PREPARED", true, func(v *world) { pop(v); v.links[n].set(prepared) })
		return
	case f != 0:
		m.incStep(w, p, AttemptFailed, true, pop)
		return
	case !s.alive() || l.has(upHung):
		m.incStep(w, p, AttemptFailed, true, nil)
		return
	}
	if m.may(mishaps) || g.suc == Severed || g.suc == Trial {
		m.incStep(w, p, AttemptFailed, true, nil)
	}
	if !l.has(prepared) || m.gone(g) {
		return
	}
	if m.mayCommit(g.suc) {
		m.incStep(w, p, Agreed, true, nil)
	} else if !l.has(asked) && (g.suc == Confirmed || g.suc == Answered || g.suc == Severed) && g.sucJob() == noJob {
		m.sucStep(w, p, AskRelease, true, func(v *world) { v.links[n].set(asked) })
	}
	if l.has(asked) && m.may(timeouts) {
		m.incStep(w, p, AttemptFailed, true, nil)
	}
}

// gone reports whether a generation has no more to do than to end.
func (m *model) gone(g *process) bool { return g.has(closing) || g.suc == Gone && g.sucJob() == noJob }

// closeIncumbent reports Close, if that is wanted.
func (m *model) closeIncumbent(w *world, p int) {
	g := &w.procs[p]
	if !m.gone(g) || g.incJob() != noJob {
		return
	}
	switch g.inc {
	case Offering, Pausing, Committed, Closed:
		return
	case Idle, Left: // the generation is over, whatever this side says
		if g.suc != Gone || g.sucJob() != noJob {
			return
		}
	case Stale, Released, Relieved, ReleasedAlone, Orphaned, ReleasedUnconfirmed: // Wait is done with it, or Close
	default:
		if g.suc != Gone && g.suc != Leaving && g.suc != LeavingTrial {
			return
		}
	}
	m.incStep(w, p, Close, true, nil)
}

// over reports whether the incumbent waits for nothing more.
func (m *model) over(w *world, p int) bool {
	g := &w.procs[p]
	n := max(after[p], 0)
	if g.incJob() != noJob {
		return false
	}
	switch g.inc {
	case Idle, Stale, Left, Closed:
		return n == 0 || !w.links[n].has(aborted)
	case ReleasedUnconfirmed:
		return true
	}
	return false
}

// incumbentJob ends an action that takes time.
func (m *model) incumbentJob(w *world, p int, j job) {
	n := after[p]
	s, l := &w.procs[n], &w.links[n]
	over := func(v *world) { v.procs[p].setIncJob(noJob) }
	switch j {
	case reading:
		if l.has(hasToken) {
			m.incStep(w, p, TokenTaken, true, func(v *world) {
				over(v)
				v.links[n].clear(hasToken)
				if m.isRaw {
					v.links[n].set(mine)
				}
			})
			return
		}
		m.incStep(w, p, TokenGone, true, over)
	case pausing:
		paused := func(v *world) { over(v); v.procs[p].clear(accepts) }
		m.incStep(w, p, Paused, true, paused)
		inherits := w.procs[p].has(closing) && l.has(heir) && l.has(foreign)
		if inherits {
			m.incStep(w, p, CloseForHeir, true, paused)
		}
		if m.may(mishaps) || !s.alive() || l.up != 0 || l.has(upHung) || m.gone(&w.procs[p]) && !inherits {
			m.incStep(w, p, PauseFailed, true, paused)
		}
	case fencing:
		fenced := func(v *world) { over(v); v.links[n].set(deathSeen | endSeen) }
		switch {
		case !s.alive():
			m.incStep(w, p, Fenced, true, fenced)
		case s.has(killable):
			m.incStep(w, p, Fenced, true, func(v *world) { fenced(v); m.die(v, n, killed) })
		default:
			m.incStep(w, p, Unkillable, true, over)
		}
	case reviving:
		m.incStep(w, p, Revived, true, over)
		if m.may(stale) {
			m.incStep(w, p, Behind, true, over)
		}
	}
}
