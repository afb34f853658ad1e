package succession

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strings"
	"sync"
	"testing"
)

// mutant is a change of the tables that somebody should notice.
type mutant struct {
	name   string
	change func(t *tables)
}

// copied returns tables of which rows and actions may be changed.
func copied() tables {
	t := theTables()
	for i, rows := range t.inc {
		t.inc[i] = append([]incumbentRow(nil), rows...)
	}
	for s, rows := range t.suc {
		t.suc[s] = append([]successorRow(nil), rows...)
	}
	return t
}

// changes are the mutants of one row: what becomes of it. A nil state removes it.
func changes[S, E ~uint8](side string, from S, rows []row[S, E], states S, name func(S) string, event func(E) string, set func(t *tables, r int, to row[S, E], drop bool)) []mutant {
	var all []mutant
	for r, old := range rows {
		title := fmt.Sprintf("%s, %s, %s: ", side, name(from), event(old.on[0]))
		all = append(all, mutant{title + "removed", func(t *tables) { set(t, r, old, true) }})
		for to := range states {
			if to != old.to {
				all = append(all, mutant{title + "to " + name(to), func(t *tables) { set(t, r, row[S, E]{old.on, to, old.do}, false) }})
			}
		}
		for k, a := range old.do {
			less := append(append([]Action(nil), old.do[:k]...), old.do[k+1:]...)
			all = append(all, mutant{title + "does not " + a.String(), func(t *tables) { set(t, r, row[S, E]{old.on, old.to, less}, false) }})
			if k > 0 && (a == HangUp || reports(a)) { // the order of others does not matter
				swapped := append([]Action(nil), old.do...)
				swapped[k-1], swapped[k] = swapped[k], swapped[k-1]
				all = append(all, mutant{title + "does " + a.String() + " too early", func(t *tables) { set(t, r, row[S, E]{old.on, old.to, swapped}, false) }})
			}
		}
	}
	return all
}

func mutants() []mutant {
	var all []mutant
	for i := range incumbents {
		all = append(all, changes("incumbent", i, incumbentTable[i], incumbents, Incumbent.String, IncumbentEvent.String, func(t *tables, r int, to incumbentRow, drop bool) {
			t.inc[i][r] = to
			if drop {
				t.inc[i] = append(t.inc[i][:r], t.inc[i][r+1:]...)
			}
		})...)
	}
	for s := range successors {
		all = append(all, changes("successor", s, successorTable[s], successors, Successor.String, SuccessorEvent.String, func(t *tables, r int, to successorRow, drop bool) {
			t.suc[s][r] = to
			if drop {
				t.suc[s] = append(t.suc[s][:r], t.suc[s][r+1:]...)
			}
		})...)
	}
	for s := range successors {
		all = append(all, mutant{"MayCommit in " + s.String(), func(t *tables) {
			was := t.mayCommit
			t.mayCommit = func(x Successor) bool { return was(x) != (x == s) }
		}})
		all = append(all, mutant{"MayHandBack in " + s.String(), func(t *tables) {
			was := t.mayHandBack
			t.mayHandBack = func(x Successor, i Incumbent) bool { return was(x, i) != (x == s && (i == Idle || i == Offering)) }
		}})
	}
	for i := range incumbents {
		all = append(all, mutant{"MayHandBack with " + i.String(), func(t *tables) {
			was := t.mayHandBack
			t.mayHandBack = func(x Successor, y Incumbent) bool { return was(x, y) != (y == i && (x == Trial || x == Confirmed)) }
		}})
	}
	all = append(all,
		mutant{"MayCommit always", func(t *tables) { t.mayCommit = func(Successor) bool { return true } }},
		mutant{"MayCommit never", func(t *tables) { t.mayCommit = func(Successor) bool { return false } }},
		mutant{"MayHandBack never", func(t *tables) { t.mayHandBack = func(Successor, Incumbent) bool { return false } }})
	return all
}

// quick are configurations that are small enough to be explored for each mutant, those that find most first.
func quick() []configuration {
	some := kills | wishes | stops | timeouts | fails | cuts
	return []configuration{
		{"golden", 0, model{generations: 2, attempts: 1}},
		{"golden, three", 0, model{generations: 3, attempts: 1, guarded: true}},
		{"golden, extras", 0, model{generations: 2, attempts: 1, extras: 1}},
		{"first", 0, model{generations: 1, first: true, faults: givesUp | closes}},
		{"two, unkillable", 0, model{generations: 2, attempts: 1, faults: all, unkillable: true}},
		{"two, foreign", 0, model{generations: 2, attempts: 1, faults: all, foreign: true}},
		{"two", 0, model{generations: 2, attempts: 1, faults: all}},
		{"extras before OWNED", 0, model{generations: 2, attempts: 1, extras: 1, faults: kills | stops | timeouts, unkillable: true, budget: 2}},
		{"extras", 0, model{generations: 2, extras: 2, faults: all &^ stale, budget: 3, guarded: true}},
		{"returning", 0, model{generations: 2, faults: all, returning: true, budget: 2, guarded: true}},
		{"raw successor", 0, model{generations: 2, attempts: 1, extras: 3, faults: timeouts, unkillable: true, raw: 1, isRaw: true}},
		{"raw successor after COMMIT", 0, model{generations: 2, extras: 2, faults: timeouts, guarded: true, unkillable: true, raw: 1, isRaw: true}},
		{"raw predecessor", 0, model{generations: 2, extras: 2, faults: timeouts | fails | givesUp, raw: 0, isRaw: true}},
		{"raw predecessor of an heir", 0, model{generations: 2, extras: 2, faults: timeouts | fails | givesUp, foreign: true, raw: 0, isRaw: true}},
		{"raw predecessor of an owner", 0, model{generations: 2, extras: 2, faults: timeouts | fails, guarded: true, raw: 0, isRaw: true}},
		{"severed", 0, model{generations: 3, attempts: 1, faults: stops | cuts | timeouts, budget: 2, guarded: true}},
		{"three", 0, model{generations: 3, attempts: 1, faults: some | closes, budget: 1, guarded: true}},
	}
}

// notices says who sees that the tables are wrong, or "".
func (x *explorer) notices(t tables) string {
	if w := faultsOf(&t); len(w) > 0 {
		return w[0]
	}
	for _, c := range quick() {
		m := c.model
		m.compile(t)
		if x.explore(&m, 500_000); x.found != "" {
			return c.name
		}
		if c.name == "golden" || c.name == "golden, three" {
			if w := golden(x); w != "" {
				return w
			}
		}
	}
	return ""
}

// golden: if nothing goes wrong the youngest serves in the end, and the others have gone.
func golden(x *explorer) string {
	m := x.m
	for i := range x.worlds {
		if x.first[i] != x.first[i+1] {
			continue
		}
		w := &x.worlds[i]
		for p := range m.generations {
			g := &w.procs[p]
			if p == m.generations-1 && (g.suc != Alone || !g.has(accepts)) && g.life != absent {
				return "the youngest does not serve in " + w.String()
			}
			if p < m.generations-1 && g.alive() && w.attempts() == 0 {
				return "an older one is left in " + w.String()
			}
		}
	}
	return ""
}

func TestQuickConfigurations(t *testing.T) {
	if by := new(explorer).notices(theTables()); by != "" {
		t.Errorf("%s sees a fault in tables that are right", by)
	}
}

const survivorsFile = "testdata/survivors.txt"

// TestMutations changes the tables, one thing at a time, and sees whether the explorer or the test of the tables notices. The
// few changes that nobody notices are in testdata/survivors.txt, each with the reason; SEGUE_MUTATIONS=list prints them. With
// the race detector only one in ten is tried.
func TestMutations(t *testing.T) {
	if testing.Short() {
		t.Skip("it explores some hundred tables")
	}
	mode := os.Getenv("SEGUE_MUTATIONS")
	reasons := survivors(t)
	tried := mutants()
	if raceDetector {
		few := tried[:0]
		for i := 0; i < len(tried); i += 10 {
			few = append(few, tried[i])
		}
		tried = few
	}
	by := make([]string, len(tried))
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var x explorer
			for i := range next {
				c := copied()
				tried[i].change(&c)
				if by[i] = x.notices(c); by[i] == "" && mode == "list" {
					fmt.Println(tried[i].name)
				}
			}
		}()
	}
	for i := range tried {
		next <- i
	}
	close(next)
	wg.Wait()

	var left []string
	known := map[string]bool{}
	for i, m := range tried {
		known[m.name] = true
		if by[i] == "" {
			left = append(left, m.name)
		}
	}
	sort.Strings(left)
	t.Logf("%d mutants, %d survive", len(tried), len(left))
	if mode == "list" {
		t.Log("\n" + strings.Join(left, "\n"))
		return
	}
	for _, name := range left {
		if reasons[name] == "" {
			t.Errorf("nobody notices: %s", name)
		}
		delete(reasons, name)
	}
	for name := range reasons {
		if known[name] || !raceDetector {
			t.Errorf("%s lists what is noticed, or is no mutant: %s", survivorsFile, name)
		}
	}
	if 10*len(left) > len(tried) {
		t.Errorf("%d of %d mutants survive: more than one in ten", len(left), len(tried))
	}
}

// survivors reads the list: a mutant a line, then a tab, then why nobody notices.
func survivors(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(survivorsFile)
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]string{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, ok := strings.Cut(line, "\t")
		if !ok || reason == "" {
			t.Errorf("%s: %q has no reason", survivorsFile, line)
		}
		list[name] = reason
	}
	return list
}
