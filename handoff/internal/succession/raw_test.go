package succession

import "testing"

// A raw peer says anything at any time, reads the token or puts it back when it likes, hangs up, dies. What it says is
// bounded; what the honest side makes of it must hold all the same: it opens only with the token in its hands, or the other
// dead, and once the raw peer is dead it waits for nothing.

// rawSteps is what the raw peer at p does.
func (m *model) rawSteps(w *world, p int) {
	const progress = false
	g := &w.procs[p]
	m.simple(w, p, "dies", progress, func(v *world) { v.procs[p].life = killed })
	m.simple(w, p, "dies, at somebody's wish", progress, func(v *world) { v.procs[p].life = ended })
	up := p > 0 // it is a successor
	i := p
	if !up {
		i = 1
	}
	l := &w.links[i]
	if up && !l.has(upHung) || !up && !l.has(downHung) {
		m.simple(w, p, "hangs up", progress, func(v *world) {
			if up {
				v.links[i].set(upHung)
			} else {
				v.links[i].set(downHung)
			}
		})
		if w.extras() > 0 && (!up || l.has(active|returns)) {
			for f := frame(1); up && f < upFrames; f++ {
				m.simple(w, p, "says "+upNames[f], progress, func(v *world) { v.misc -= 1 << extraShift; m.room(v.links[i].up.put(f)) })
			}
			for f := frame(1); !up && f < downFrames; f++ {
				m.simple(w, p, "says "+downNames[f], progress, func(v *world) {
					v.misc -= 1 << extraShift
					m.say(&v.links[i], f)
				})
			}
		}
	}
	switch {
	case l.has(hasToken) && !g.has(failing):
		m.simple(w, p, "reads the token", progress, func(v *world) {
			v.links[i].clear(hasToken)
			v.procs[p].set(failing)
			if up {
				v.links[i].set(took)
			}
		})
	case !l.has(hasToken) && g.has(failing):
		m.simple(w, p, "puts the token back", progress, func(v *world) {
			v.links[i].clear(took)
			v.links[i].set(hasToken)
			v.procs[p].clear(failing)
		})
	}
	l2 := w.links[i]
	if l2.down != 0 && up { // it reads, or does not
		m.simple(w, p, "reads", progress, func(v *world) { v.links[i].down >>= 4 })
	}
}

// rawRest says what is wrong with a world in which nothing goes on, and the raw peer is dead.
func (m *model) rawRest(w *world) string {
	if w.procs[m.raw].alive() {
		return ""
	}
	p := 1 - m.raw
	g := &w.procs[p]
	if !g.alive() {
		return ""
	}
	if g.suc == Alone && g.inc == Idle && g.has(accepts) {
		return ""
	}
	return slotNames[p] + " waits for ever in " + g.suc.String() + "/" + g.inc.String()
}

func rawConfigurations() []configuration {
	honest := timeouts | mishaps | closes
	return []configuration{
		{"successor", 20_000, model{generations: 2, attempts: 1, extras: 3, faults: timeouts, raw: 1, isRaw: true}},
		{"successor that cannot be killed", 20_000, model{generations: 2, attempts: 1, extras: 3, faults: timeouts, unkillable: true, raw: 1, isRaw: true}},
		{"successor of a closing one", 5_000, model{generations: 2, attempts: 1, extras: 2, faults: honest, unkillable: true, foreign: true, raw: 1, isRaw: true}},
		{"successor after COMMIT", 20_000, model{generations: 2, extras: 3, faults: timeouts, guarded: true, unkillable: true, raw: 1, isRaw: true}},
		{"predecessor", 1_000, model{generations: 2, extras: 3, faults: timeouts | fails | givesUp, raw: 0, isRaw: true}},
		{"predecessor of an heir", 1_000, model{generations: 2, extras: 3, faults: timeouts | fails | givesUp, foreign: true, raw: 0, isRaw: true}},
		{"predecessor of an owner", 1_000, model{generations: 2, extras: 3, faults: timeouts | fails, guarded: true, raw: 0, isRaw: true}},
	}
}

func TestRawPeers(t *testing.T) {
	t.Parallel()
	for _, c := range rawConfigurations() {
		t.Run(c.name, func(t *testing.T) {
			m := c.model
			m.compile(theTables())
			x := explore(&m, 500_000)
			t.Logf("%d worlds", len(x.worlds))
			if x.found != "" {
				t.Fatalf("%s", x.found)
			}
			if len(x.worlds) < c.least {
				t.Errorf("only %d worlds, at least %d are expected", len(x.worlds), c.least)
			}
		})
	}
}
