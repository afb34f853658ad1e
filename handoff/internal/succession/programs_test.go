package succession

// programSteps is what the program in p does, and how the process ends.
func (m *model) programSteps(w *world, p int) {
	g, l := &w.procs[p], &w.links[p]
	free := g.sucJob() == noJob
	want := g.has(closing)
	switch g.suc {
	case First, Preparing, PreparingHeir, Inheriting:
		if free && !want && (l.down == 0 || g.suc == Inheriting) {
			m.sucStep(w, p, Ready, true, nil)
		}
		if free && want {
			m.sucStep(w, p, GiveUp, true, nil)
		}
	case Proving, ProvingHeir:
		if free && want {
			m.sucStep(w, p, GiveUp, true, nil)
		}
	case Trial, TrialAlone, TrialSevered:
		if free && !want {
			m.sucStep(w, p, Proved, true, nil)
		}
	case Returning, Departing, Draining:
		if free {
			m.sucStep(w, p, Drained, true, nil)
		}
	case Leaving, LeavingTrial:
		if free && m.over(w, p) {
			m.sucStep(w, p, Drained, true, nil)
		}
	}
	switch g.suc {
	case First, Preparing, PreparingHeir, Inheriting, Proving, ProvingHeir, Taking, TakingAlone, Opening, OpeningAlone, Leaving, LeavingTrial, Gone:
	case Returning, Departing, Draining:
		if free && want { // it comes once, and decides nothing
			m.begin("", "")
			v := *w
			m.sucEvent(&v, p, Stop)
			m.emit(&v, false)
		}
	default:
		if free && want && PhaseOf(g.suc, g.inc) != PhaseStopped {
			m.sucStep(w, p, Stop, true, nil)
		}
	}
	switch g.inc {
	case Released, Relieved, ReleasedAlone, Orphaned, ReleasedUnconfirmed:
		if !want {
			m.simple(w, p, "is drained", true, func(v *world) { v.procs[p].set(closing) })
		}
	}
	if PhaseOf(g.suc, g.inc) == PhaseStopped && g.jobs == 0 && m.over(w, p) && g.inc != Stale {
		m.simple(w, p, "exits", true, func(v *world) {
			if v.duty() == p {
				v.setDuty(p) // whoever has the duty and just leaves is found at the end
			}
			v.procs[p].life = ended
		})
	}
	m.beginSteps(w, p)
}

// beginSteps starts a successor.
func (m *model) beginSteps(w *world, p int) {
	n := after[p]
	g := &w.procs[p]
	if n < 0 || n >= m.generations || w.attempts() == 0 || g.inc != Idle || g.incJob() != noJob || g.sucJob() != noJob || m.gone(g) && g.suc != Leaving {
		return
	}
	s := &w.procs[n]
	if m.may(mishaps) && s.life == absent {
		// A caller that came before this generation was ready gives up.
		m.incStep(w, p, AttemptFailed, false, func(v *world) {
			v.links[n].set(active)
			v.misc -= 1 << attemptShift
		})
	}
	switch g.suc {
	case Confirmed, Answered, Free, Alone, Severed:
	case Leaving: // it was not closed yet when somebody asked for an upgrade
	default:
		return
	}
	move := false
	if s.alive() {
		l := &w.links[n]
		if p != 0 || w.procs[leftover].alive() || l.has(active) || s.inc != Idle && s.inc != Closed {
			return
		}
		displaced := m.displaces && l.has(aborted) // it has not answered while another one waited
		switch s.suc {
		case Preparing, PreparingHeir:
			move = displaced
		case Returning, Departing, Draining, Gone:
			move = displaced || !l.has(aborted)
		}
		if !move {
			return
		}
	}
	if c := after[n]; c > 0 && w.procs[c].alive() {
		return
	}
	m.incStep(w, p, Begin, false, func(v *world) {
		if move {
			v.procs[leftover], v.links[leftover] = v.procs[n], v.links[n]
		} else if p == 0 && !v.procs[leftover].alive() {
			v.procs[leftover], v.links[leftover] = process{}, conn{}
		}
		if c := after[n]; c > 0 {
			v.procs[c], v.links[c] = process{}, conn{}
		}
		v.procs[n] = process{life: running, suc: Preparing, inc: Idle}
		if !m.unkillable {
			v.procs[n].set(killable)
		}
		v.links[n] = conn{bits: hasToken | active}
		if m.foreign {
			v.links[n].set(foreign)
		}
		if m.mayCommit(g.suc) {
			v.links[n].set(heir)
			v.procs[n].suc = PreparingHeir
		}
		v.misc -= 1 << attemptShift
	})
}

// faultSteps is what goes wrong with p, whether it runs or is stopped.
func (m *model) faultSteps(w *world, p int) {
	g := &w.procs[p]
	if m.may(kills) {
		m.simple(w, p, "dies", false, func(v *world) { m.die(v, p, killed) })
	}
	if m.may(wishes) {
		m.simple(w, p, "dies, at somebody's wish", false, func(v *world) { m.die(v, p, ended) })
	}
	if m.may(stops) && g.life == running {
		m.simple(w, p, "is stopped", false, func(v *world) { v.procs[p].life = stopped })
	}
	if g.life != running {
		return
	}
	excuse := func(v *world) {
		v.procs[p].set(closing)
		if v.duty() == p {
			v.setDuty(noDuty)
		}
	}
	if !m.gone(g) {
		if m.may(closes) {
			m.simple(w, p, "is being closed", false, excuse)
		}
		if m.may(fails) && g.sucJob() == noJob && m.mayHandBack(g.suc, g.inc) {
			m.sucStep(w, p, Unfit, false, func(v *world) {
				if v.duty() == p {
					v.setDuty(noDuty)
				}
			})
		}
		if m.may(givesUp) && g.sucJob() == noJob {
			switch g.suc {
			case First, Preparing, PreparingHeir, Inheriting, Proving, ProvingHeir:
				m.sucStep(w, p, GiveUp, false, func(v *world) {
					if v.duty() == p {
						v.setDuty(noDuty)
					}
				})
			}
		}
	}
	if g.suc == Opening && g.sucJob() == opening && m.may(givesUp) {
		m.sucStep(w, p, OpenFailed, false, func(v *world) {
			v.procs[p].setSucJob(noJob)
			if v.duty() == p {
				v.setDuty(noDuty)
			}
		})
	}
	l := &w.links[p]
	if p > 0 && w.cuts() > 0 && g.sucJob() == noJob && !l.has(upHung) {
		switch g.suc {
		case Preparing, PreparingHeir, Proving, ProvingHeir, Trial, Confirmed, Answered, Free, Leaving:
			if w.procs[before[p]].alive() {
				m.sucStep(w, p, Cut, false, func(v *world) {
					v.misc &^= cutMask << cutShift
					if v.duty() == p && g.suc != Trial {
						switch g.suc {
						case PreparingHeir, ProvingHeir:
							v.setDuty(noDuty)
						}
					}
				})
			}
		}
	}
	m.extraSuccessor(w, p)
}

// extraIncumbent sends what decides nothing.
func (m *model) extraIncumbent(w *world, p int) {
	if w.extras() == 0 {
		return
	}
	n := after[p]
	use := func(v *world) { v.misc -= 1 << extraShift }
	switch w.procs[p].inc {
	case Guard, Probing, Asking, Released, Relieved:
	default:
		return
	}
	if l := &w.links[n]; !l.has(upHung) && !l.has(downHung) {
		for _, f := range []frame{fConnsDown, fUpgrade} {
			m.simple(w, p, "sends "+downNames[f], false, func(v *world) { use(v); m.say(&v.links[n], f) })
		}
		if i := w.procs[p].inc; i == Guard || i == Released || i == Relieved {
			m.incStep(w, p, BatchOverdue, false, func(v *world) { use(v); v.links[n].set(overdue) })
		}
	}
}

func (m *model) extraSuccessor(w *world, p int) {
	if w.extras() == 0 || p == 0 || w.links[p].has(upHung) {
		return
	}
	switch w.procs[p].suc {
	case Trial, Confirmed, Answered, Free:
	case Opening: // what was closed before OWNED is dropped before it
	default:
		return
	}
	m.simple(w, p, "sends DROP", false, func(v *world) { v.misc -= 1 << extraShift; m.tell(&v.links[p], fDrop) })
}

// successorJob ends an action that takes time.
func (m *model) successorJob(w *world, p int, j job) {
	l := &w.links[p]
	over := func(v *world) { v.procs[p].setSucJob(noJob) }
	switch j {
	case reading:
		if l.has(hasToken) {
			m.sucStep(w, p, ReadTaken, true, func(v *world) { over(v); v.links[p].clear(hasToken); v.links[p].set(took) })
			return
		}
		m.sucStep(w, p, ReadGone, true, over)
	case opening:
		if !w.procs[p].has(closing) {
			open := func(v *world) { over(v); v.procs[p].set(accepts) }
			m.sucStep(w, p, Opened, true, open)
			if p > 0 {
				m.sucStep(w, p, OpenedOnTrial, true, open)
			}
		}
		if w.procs[p].has(closing) {
			m.sucStep(w, p, OpenFailed, true, over)
		}
	case parting:
		m.sucStep(w, p, Cut, true, over)
	case putting, puttingLast:
		if j == putting && m.may(mishaps) { // what only one process may have is not let go of
			m.simple(w, p, "says FAILED", true, func(v *world) {
				m.tell(&v.links[p], fFailed)
				v.procs[p].setSucJob(parting)
			})
		}
		m.simple(w, p, "puts the token back", true, func(v *world) {
			l := &v.links[p]
			if !m.isRaw && (!l.has(took) || l.has(hasToken)) {
				m.wrong = "it puts back a token that it has not"
			}
			l.clear(took)
			l.set(hasToken)
			v.procs[p].setSucJob(j + telling - putting)
		})
	case telling, tellingLast:
		m.simple(w, p, "says FAILED with returned", true, func(v *world) {
			over(v)
			m.tell(&v.links[p], fReturned)
			switch {
			case j == tellingLast:
				v.links[p].set(upHung)
			case !m.returning:
				v.procs[p].setSucJob(parting)
			}
		})
	}
}

// die ends the process at n. Who has the duty to serve then is who can.
func (m *model) die(v *world, n int, how life) {
	g := &v.procs[n]
	wasDuty := v.duty() == n
	j := g.incJob()
	g.life = how
	if !wasDuty {
		return
	}
	v.setDuty(noDuty)
	c := after[n]
	if c < 0 {
		return
	}
	l, s := &v.links[c], &v.procs[c]
	_ = j
	if !s.alive() || s.has(closing) || !l.has(active) {
		return
	}
	waits := s.suc == PreparingHeir || s.suc == ProvingHeir || s.suc == Taking
	if l.has(took) && (s.has(accepts) || s.suc == Opening) || l.has(heir) && waits && l.has(hasToken) && !l.has(upHung) && (s.suc != Taking) {
		v.setDuty(c)
	}
}
