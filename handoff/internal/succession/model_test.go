package succession

// tables are both tables and what stands beside them. The tests of the explorer change a copy of it.
type tables struct {
	inc         [incumbents][]incumbentRow
	suc         [successors][]successorRow
	mayCommit   func(Successor) bool
	mayHandBack func(Successor, Incumbent) bool
}

func theTables() tables {
	return tables{incumbentTable, successorTable, MayCommit, MayHandBack}
}

// faults say what the environment does in a model.
type faults uint16

const (
	kills    faults = 1 << iota // each process dies at any instant
	wishes                      // the same, and somebody wished it
	stops                       // each process is stopped and continued
	closes                      // each program closes its generation
	fails                       // or calls Fail
	givesUp                     // or does not become ready
	cuts                        // a successor finds that nothing can be sent to its predecessor
	timeouts                    // those who wait lose patience
	mishaps                     // pauses and attempts fail
	stale                       // state is behind after a revival
	all      = kills | wishes | stops | closes | fails | givesUp | cuts | timeouts | mishaps | stale
)

// model is what is explored.
type model struct {
	faults      faults
	generations int
	attempts    int  // how often a successor may begin, beside those of the start
	extras      int  // frames without consequence
	budget      int  // how much may go wrong; 0: everything
	returning   bool // connections return after a hand-back
	unkillable  bool // no successor may be killed
	foreign     bool // somebody else starts the successors, which makes heirs of those that can be
	displaces   bool // another attempt begins while a successor that was dismissed has not hung up
	guarded     bool // begins with B on trial, and A ready to take back
	raw         int  // the slot of a raw peer, if there is one
	isRaw       bool
	first       bool // begins with the first generation alone, before it is ready

	tables
	inc [incumbents][incumbentEvents]*incumbentRow
	suc [successors][successorEvents]*successorRow

	// What a step is, and what is wrong with it. They are set anew for each.
	emit  func(w *world, progress bool)
	note  note
	wrong string
}

// note describes a step.
type note struct {
	who, what string
	from, to  string
	inc       *incumbentRow
	suc       *successorRow
	state     uint8 // of which the row is
	event     uint8
}

func (m *model) compile(t tables) {
	m.tables = t
	m.inc = [incumbents][incumbentEvents]*incumbentRow{}
	m.suc = [successors][successorEvents]*successorRow{}
	for s := range t.inc {
		for r := range t.inc[s] {
			for _, e := range t.inc[s][r].on {
				m.inc[s][e] = &t.inc[s][r]
			}
		}
	}
	for s := range t.suc {
		for r := range t.suc[s] {
			for _, e := range t.suc[s][r].on {
				m.suc[s][e] = &t.suc[s][r]
			}
		}
	}
}

func (m *model) may(f faults) bool { return m.faults&f != 0 }

// start is a generation that serves, alone; or the first that prepares itself.
func (m *model) start() world {
	var w world
	w.misc = uint32(m.attempts<<attemptShift | m.extras<<extraShift)
	if m.budget > 0 {
		w.misc |= uint32(m.budget) << budgetShift
	}
	if m.may(cuts) {
		w.misc |= 1 << cutShift
	}
	w.procs[0] = process{life: running, suc: Alone, inc: Idle, bits: accepts | announced | began}
	if m.first {
		w.procs[0] = process{life: running, suc: First, inc: Idle}
	}
	if m.guarded {
		w.procs[0] = process{life: running, suc: Alone, inc: Unconfirmed, bits: announced | parked | began}
		w.procs[1] = process{life: running, suc: Trial, inc: Idle, bits: accepts | began}
		if !m.unkillable {
			w.procs[1].set(killable)
		}
		w.links[1] = conn{bits: took | active | heir | prepared}
	}
	if m.isRaw && m.raw == 0 {
		w.procs[0].suc, w.procs[0].bits = Alone, 0
		if !m.guarded {
			w.procs[1] = process{life: running, suc: Preparing, inc: Idle}
			w.links[1] = conn{bits: hasToken | active}
			if m.foreign {
				w.procs[1].suc = PreparingHeir
				w.links[1].set(heir)
			}
		}
	}
	return w
}

// incEvent lets the incumbent at p decide.
func (m *model) incEvent(w *world, p int, e IncumbentEvent) {
	g := &w.procs[p]
	r := m.inc[g.inc][e]
	m.note.who, m.note.what, m.note.inc = slotNames[p], e.String(), r
	m.note.from, m.note.state, m.note.event = g.inc.String(), uint8(g.inc), uint8(e)
	if r == nil {
		m.wrong = "the incumbent has no row for it"
		return
	}
	g.inc = r.to
	m.note.to = g.inc.String()
	n := after[p]
	if n < 0 {
		n = leftover // never has a link
	}
	for _, a := range r.do {
		m.incAct(w, p, n, a)
	}
	l := &w.links[n]
	switch {
	case l.has(dropRead) && g.inc != Released && g.inc != Relieved:
		m.wrong = "the DROP is forgotten"
	case l.has(takenRead):
		m.wrong = "the TAKEN is forgotten"
	case l.has(overdue) && (g.inc == Released || g.inc == Relieved):
		m.wrong = "the batch is not excused"
	}
	l.clear(dropRead)
	if g.inc == Idle && !w.procs[n].alive() {
		l.clear(active)
	}
	if g.inc == Closed {
		g.clear(accepts)
	}
	if g.inc == ReleasedUnconfirmed {
		l.clear(active)
	}
	if (g.inc == Left || g.inc == Closed || g.inc == Stale || g.inc == ReleasedUnconfirmed) && !l.has(aborted) { // the attempt is over
		if l.has(returns) {
			l.clear(returns)
		}
		l.set(downHung)
		l.up = 0
	}
}

// room: a queue that is full is a fault, and not cut short in silence.
func (m *model) room(ok bool) {
	if !ok {
		m.wrong = "a queue is full"
	}
}

func (m *model) say(l *conn, f frame) {
	if !l.has(upHung) && !l.has(downHung) {
		m.room(l.down.put(f))
	}
}

func (m *model) tell(l *conn, f frame) {
	if !l.has(upHung) && !l.has(downHung) && !l.has(aborted) {
		m.room(l.up.put(f))
	}
}

// incAct carries out an action of the incumbent at p, towards the successor at n.
func (m *model) incAct(w *world, p, n int, a Action) {
	g, s, l := &w.procs[p], &w.procs[n], &w.links[n]
	switch a {
	case ReadToken:
		g.setIncJob(reading)
	case Pause:
		g.setIncJob(pausing)
	case Fence:
		g.setIncJob(fencing)
	case Revive:
		g.setIncJob(reviving)
	case Dismiss, DismissOwner:
		if !l.has(active) {
			m.wrong = "there is nobody to dismiss"
		}
		l.clear(active)
		switch {
		case !s.alive() || l.has(upHung):
		case a == DismissOwner && l.has(returned) && m.returning:
			m.say(l, fConfirmDown)
			l.set(returns)
		default:
			m.say(l, fAbort)
			l.up = 0
			l.set(aborted)
		}
	case SendCommit:
		m.tellAncestor(w, p, fGoodbye)
		m.say(l, fCommit)
	case LeaveToHeir:
		g.clear(accepts)
		g.setIncJob(noJob)
		m.say(l, fLeaves)
		if w.duty() == p || w.duty() == noDuty {
			w.setDuty(noDuty)
			if s.alive() && s.suc != Gone && l.up.head() != fFailed && !s.has(closing) {
				w.setDuty(n)
			}
		}
	case Park:
		g.set(parked)
	case KeepDrop:
		l.clear(dropRead)
		l.set(dropKept)
	case ApplyDrop:
		l.clear(dropRead)
	case ApplyDrops:
		l.clear(dropKept)
	case Supersede:
		g.set(superseded | departing)
	case SupersedeUnconfirmed:
		g.set(superseded)
	case SendPing:
		m.say(l, fPing)
	case Excuse, WarnStuck:
		l.clear(overdue)
	case Release:
		m.release(w, p, n)
	case SendReleased:
		if !g.has(promised) {
			m.wrong = "it says RELEASED, and has not released"
		}
		m.say(l, fReleased)
	case Reopen:
		m.reopen(w, p, n)
	case EndStale:
		g.set(closing)
		g.clear(departing)
		if w.duty() == p {
			w.setDuty(noDuty)
		}
	case CountTaken:
		if !l.has(takenRead) {
			m.wrong = "it counts what was not taken"
		}
		l.clear(takenRead)
	case EndDeparture:
		g.clear(departing)
	case SendBye:
		m.say(l, fBye)
	case ReportOrphaned:
		if l.has(relieved) {
			m.wrong = "it says that nobody serves, and was told that it does not matter"
		}
	case ReportBlocked:
	default:
		m.wrong = "the incumbent does not know how to " + a.String()
	}
}

// release checks that somebody else serves, or was wished not to.
func (m *model) release(w *world, p, n int) {
	g, s, l := &w.procs[p], &w.procs[n], &w.links[n]
	g.set(promised)
	l.clear(overdue)
	m.say(l, fReleased)
	owner := m.isRaw || s.has(accepts) || s.has(closing) || s.life == ended || after[n] > 0 && s.has(promised) ||
		s.inc != Idle && s.inc != Offering // it has a successor of its own
	if !owner {
		m.wrong = "it gives revival up, and nobody serves"
	}
	if w.duty() != p {
		return
	}
	w.setDuty(noDuty)
	if s.alive() && !s.has(closing) {
		w.setDuty(n)
	}
}

// tellAncestor tells a predecessor whether it matters to it if this generation dies.
func (m *model) tellAncestor(w *world, p int, f frame) {
	if p == 0 || w.links[p].has(upHung) {
		return
	}
	m.tell(&w.links[p], f)
	if f == fGoodbye {
		w.links[p].set(relieved)
	} else {
		w.links[p].clear(relieved)
	}
}

// reopen checks that this generation may.
func (m *model) reopen(w *world, p, n int) {
	g, s, l := &w.procs[p], &w.procs[n], &w.links[n]
	switch {
	case g.has(promised):
		m.wrong = "it has said RELEASED, and opens"
	case !m.isRaw && s.alive() && l.has(hasToken):
		m.wrong = "it opens, and the token is there for the successor"
	case !m.isRaw && s.alive() && l.has(took):
		m.wrong = "it opens, and the successor has the token"
	case m.isRaw:
	case s.alive() && l.has(settled):
		m.wrong = "it opens, and the successor was sure that it would not"
	}
	if m.isRaw && s.alive() && !l.has(mine) {
		m.wrong = "it opens, and has not read the token"
	}
	g.set(accepts)
	g.clear(parked | superseded | departing)
	l.clear(dropKept | overdue)
	m.tellAncestor(w, p, fOwned)
}
