package succession

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"testing"
)

// explorer visits every world of a model.
type explorer struct {
	m       *model
	worlds  []world
	table   []int32 // a hash table of them: places in worlds, plus 1
	parents []int32
	edges   []int32 // of progress, by world; first[i] is where those of worlds[i] begin
	first   []int32
	at      int32
	found   string // what is wrong, and how it came to that
	inUsed  [incumbents][incumbentEvents]bool
	sucUsed [successors][successorEvents]bool
}

// explore returns what it has found. It stops at the first fault, or beyond limit worlds if limit is not 0.
func explore(m *model, limit int) *explorer {
	return new(explorer).explore(m, limit)
}

// explore is the same, in the memory of an explorer that has been used.
func (x *explorer) explore(m *model, limit int) *explorer {
	*x = explorer{m: m, worlds: x.worlds[:0], table: x.table, parents: x.parents[:0], edges: x.edges[:0], first: x.first[:0]}
	if x.table == nil {
		x.table = make([]int32, 1<<12)
	}
	clear(x.table)
	m.emit = x.visit
	w := m.start()
	x.at = -1
	x.visit(&w, false)
	x.edges = x.edges[:0]
	for x.at = 0; int(x.at) < len(x.worlds) && x.found == ""; x.at++ {
		if limit > 0 && len(x.worlds) > limit {
			x.found = "more worlds than there may be"
			return x
		}
		x.first = append(x.first, int32(len(x.edges))) //nolint:gosec // bounded by memory
		w := x.worlds[x.at]
		m.steps(&w)
		if x.found != "" {
			break
		}
		if int(x.first[x.at]) == len(x.edges) {
			if wrong := m.rest(&w); wrong != "" {
				x.found = x.trace(x.at, nil) + wrong
			}
		}
	}
	if x.found == "" {
		x.loops()
	}
	return x
}

func (x *explorer) visit(w *world, progress bool) {
	if x.found != "" {
		return
	}
	if n := x.m.note; n.inc != nil || n.suc != nil {
		x.use(n)
	}
	wrong := x.m.wrong
	var place int
	if wrong == "" {
		var i int32
		if place, i = x.find(w); i >= 0 {
			if progress {
				x.edges = append(x.edges, i)
			}
			return
		}
		wrong = x.m.check(w)
	}
	if wrong != "" {
		x.found = x.trace(x.at, w) + wrong
		return
	}
	i := int32(len(x.worlds)) //nolint:gosec // bounded by memory
	x.table[place] = i + 1
	x.worlds = append(x.worlds, *w)
	if 2*len(x.worlds) > len(x.table) {
		x.grow()
	}
	x.parents = append(x.parents, x.at)
	if progress {
		x.edges = append(x.edges, i)
	}
}

var seed = maphash.MakeSeed()

// find returns where w is in the table, or belongs, and its place in worlds, or -1.
func (x *explorer) find(w *world) (place int, i int32) {
	mask := len(x.table) - 1
	for place = int(maphash.Comparable(seed, *w)) & mask; ; place = (place + 1) & mask { //nolint:gosec // a hash
		i = x.table[place] - 1
		if i < 0 || x.worlds[i] == *w {
			return place, i
		}
	}
}

func (x *explorer) grow() {
	x.table = make([]int32, 4*len(x.table))
	for i := range x.worlds {
		place, _ := x.find(&x.worlds[i])
		x.table[place] = int32(i + 1) //nolint:gosec // bounded by memory
	}
}

func (x *explorer) use(n note) {
	if n.inc != nil {
		x.inUsed[n.state][n.event] = true
	} else {
		x.sucUsed[n.state][n.event] = true
	}
}

// loops looks for worlds from which progress leads back to them.
func (x *explorer) loops() {
	n := len(x.worlds)
	x.first = append(x.first, int32(len(x.edges))) //nolint:gosec // bounded by memory
	into := make([]int32, n)
	for _, to := range x.edges {
		into[to]++
	}
	var free []int32
	for i := range into {
		if into[i] == 0 {
			free = append(free, int32(i)) //nolint:gosec // bounded by memory
		}
	}
	done := 0
	for len(free) > 0 {
		i := free[len(free)-1]
		free = free[:len(free)-1]
		done++
		for _, to := range x.edges[x.first[i]:x.first[i+1]] {
			if into[to]--; into[to] == 0 {
				free = append(free, to)
			}
		}
	}
	if done == n {
		return
	}
	for i := range into {
		if into[i] > 0 {
			x.found = x.trace(int32(i), nil) + "it goes round for ever" //nolint:gosec // bounded by memory
			return
		}
	}
}

// trace tells how the world at i came about, and last after it, if that is not nil: a line a step.
func (x *explorer) trace(i int32, last *world) string {
	var path []int32
	for j := i; j >= 0; j = x.parents[j] {
		path = append(path, j)
	}
	var b strings.Builder
	emit, note, wrong := x.m.emit, x.m.note, x.m.wrong
	for k := len(path) - 1; k >= 0; k-- {
		w := x.worlds[path[k]]
		fmt.Fprintf(&b, "        %v\n", w)
		var next *world
		if k > 0 {
			next = &x.worlds[path[k-1]]
		} else if next = last; next == nil {
			break
		}
		told := false
		x.m.emit = func(v *world, _ bool) {
			if !told && *v == *next {
				told = true
				fmt.Fprintf(&b, "%v\n", x.m.note)
			}
		}
		x.m.steps(&w)
	}
	if last != nil {
		fmt.Fprintf(&b, "        %v\n", *last)
	}
	x.m.emit, x.m.note, x.m.wrong = emit, note, wrong
	return b.String()
}

// String is one step of a trace: who, event, state -> state, actions.
func (n note) String() string {
	s := n.who + ": " + n.what
	if n.from != "" {
		s += ", " + n.from + " -> " + n.to
	}
	var do []Action
	if n.inc != nil {
		do = n.inc.do
	}
	if n.suc != nil {
		do = n.suc.do
	}
	for i, a := range do {
		s += [...]string{": ", ", "}[min(i, 1)] + a.String()
	}
	return s
}

func TestExplore(t *testing.T) {
	var inUsed [incumbents][incumbentEvents]bool
	var sucUsed [successors][successorEvents]bool
	for _, c := range configurations() {
		t.Run(c.name, func(t *testing.T) {
			m := c.model
			m.compile(theTables())
			x := explore(&m, 500_000)
			t.Logf("%d worlds, %d steps of progress", len(x.worlds), len(x.edges))
			if x.found != "" {
				t.Fatalf("%s", x.found)
			}
			for i := range inUsed {
				for e := range inUsed[i] {
					inUsed[i][e] = inUsed[i][e] || x.inUsed[i][e]
				}
			}
			for i := range sucUsed {
				for e := range sucUsed[i] {
					sucUsed[i][e] = sucUsed[i][e] || x.sucUsed[i][e]
				}
			}
			if len(x.worlds) < c.least {
				t.Errorf("only %d worlds, at least %d are expected", len(x.worlds), c.least)
			}
		})
	}
	unreached, missing := 0, int(incumbents)*int(incumbentEvents)+int(successors)*int(successorEvents)
	note := func(reached bool, frame bool, state, event string) {
		missing--
		if reached {
			return
		}
		unreached++
		if !frame && !outOfReach[state+", "+event] {
			t.Errorf("%s, %s: nothing leads there; remove it, or say in outOfReach why not", state, event)
		}
	}
	for i, rows := range incumbentTable {
		for _, r := range rows {
			for _, e := range r.on {
				note(inUsed[i][e], i == int(Closed) || slices.Contains(frames, e), incumbentNames[i], e.String())
			}
		}
	}
	for s, rows := range successorTable {
		for _, r := range rows {
			for _, e := range r.on {
				note(sucUsed[s][e], s == int(Gone) || slices.Contains(said, e), successorNames[s], e.String())
			}
		}
	}
	t.Logf("%d pairs of state and event are in no table, and nothing leads there; %d more are frames that only a wrong peer sends, or come when it is over", missing, unreached)
}

// outOfReach are pairs that the model does not come to, and that a driver may.
var outOfReach = map[string]bool{
	"TAKING ALONE, the token is gone": true, // an error of read(2)
	"BLOCKED COMMITTED, the end":      true, // a frame that is malformed
}

type configuration struct {
	name  string
	least int
	model model
}

func configurations() []configuration {
	return []configuration{
		{"golden", 30, model{generations: 2, attempts: 1}},
		{"two", 17_000, model{generations: 2, attempts: 1, faults: all}},
		{"two, unkillable", 20_000, model{generations: 2, attempts: 1, faults: all, unkillable: true}},
		{"two, foreign", 18_000, model{generations: 2, attempts: 1, faults: all, foreign: true}},
		{"two, first", 16_000, model{generations: 2, attempts: 1, faults: all, first: true}},
		{"two, extras", 60_000, model{generations: 2, attempts: 1, faults: all, extras: 1}},
		{"again, returning", 190_000, model{generations: 2, attempts: 2, faults: all, returning: true, budget: 2}},
		{"again, unkillable", 190_000, model{generations: 2, attempts: 2, faults: all, unkillable: true, budget: 2}},
		{"again, displaced", 90_000, model{generations: 2, attempts: 2, faults: kills | stops | timeouts | closes | mishaps, budget: 2, displaces: true}},
		{"three", 200_000, model{generations: 3, attempts: 1, faults: all, budget: 1, guarded: true}},
		{"three, unkillable", 200_000, model{generations: 3, attempts: 1, faults: all &^ stale, budget: 1, unkillable: true, guarded: true, foreign: true}},
		{"three, severed", 170_000, model{generations: 3, attempts: 1, faults: stops | cuts | timeouts, budget: 2, guarded: true}},
		{"three, again", 300_000, model{generations: 3, attempts: 2, faults: kills | timeouts | fails, budget: 1, guarded: true}},
	}
}
