package succession

// returningSteps is what an incumbent does about a successor n that its table has done with.
func (m *model) returningSteps(w *world, n int) {
	l, s := &w.links[n], &w.procs[n]
	switch {
	case l.has(aborted):
		if l.has(upHung) || !s.alive() {
			m.simple(w, before[n], "hangs up", true, func(v *world) { v.links[n].clear(aborted); v.links[n].set(downHung) })
			return
		}
		m.simple(w, before[n], "ends a successor that does not hang up", true, func(v *world) {
			l := &v.links[n]
			l.clear(aborted)
			l.set(downHung)
			if v.procs[n].has(killable) {
				m.die(v, n, killed)
			}
		})
	case l.has(returns):
		switch f := l.up.head(); {
		case f != 0:
			m.simple(w, before[n], "reads from the one that returns", true, func(v *world) {
				v.links[n].up >>= 4
				if f == fConns {
					m.say(&v.links[n], fTakenDown)
				}
			})
		case l.has(upHung) || !s.alive():
			m.simple(w, before[n], "hangs up", true, func(v *world) { v.links[n].clear(returns); v.links[n].set(downHung) })
		}
	}
}

// successorSteps is what a driver does for the successor at p.
func (m *model) successorSteps(w *world, p int) {
	g, l := &w.procs[p], &w.links[p]
	if j := g.sucJob(); j != noJob {
		m.successorJob(w, p, j)
		return
	}
	if p == 0 || l.has(upHung) && g.suc != Severed && g.suc != TrialSevered {
		return
	}
	if g.suc == Inheriting || g.suc == Gone {
		return
	}
	if g.suc == Departing {
		m.departingSteps(w, p)
		return
	}
	if f := l.down.head(); f != 0 {
		m.sucStep(w, p, downEvents[f], true, func(v *world) {
			l := &v.links[p]
			l.down >>= 4
			switch f {
			case fConnsDown:
				l.set(connsRead)
			case fUpgrade:
				l.set(upgrade)
			}
		})
		return
	}
	ahead := w.procs[before[p]].alive()
	switch {
	case !ahead:
		m.sucStep(w, p, PredecessorDied, true, nil)
		return
	case l.has(downHung) && !l.has(upHung):
		m.sucStep(w, p, Cut, true, nil)
		return
	}
	if m.may(timeouts) && (g.suc == Proving || g.suc == ProvingHeir) {
		m.sucStep(w, p, TooLate, true, nil)
	}
}

// departingSteps is what a driver does for the successor at p whose connections return: the table hears only of the end.
func (m *model) departingSteps(w *world, p int) {
	l := &w.links[p]
	if f := l.down.head(); f != 0 {
		m.simple(w, p, "reads "+downNames[f], true, func(v *world) { v.links[p].down >>= 4 })
		return
	}
	if l.has(downHung) || !w.procs[before[p]].alive() {
		m.sucStep(w, p, Cut, true, func(v *world) { v.procs[p].clear(departing) })
	}
}
