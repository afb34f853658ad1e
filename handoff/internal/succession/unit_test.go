package succession

import (
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

func TestTablesAreDecided(t *testing.T) {
	tables := theTables()
	for _, w := range faultsOf(&tables) {
		t.Error(w)
	}
}

func TestStep(t *testing.T) {
	if to, do, ok := Guard.Step(GuardOver); to != Asking || len(do) != 1 || do[0] != SendPing || !ok {
		t.Errorf("Guard.Step(GuardOver) = %v, %v, %v", to, do, ok)
	}
	if to, do, ok := Guard.Step(Begin); to != Guard || do != nil || ok {
		t.Errorf("Guard.Step(Begin) = %v, %v, %v", to, do, ok)
	}
	if to, do, ok := Confirmed.Step(Ping); to != Answered || len(do) != 1 || do[0] != SendPong || !ok {
		t.Errorf("Confirmed.Step(Ping) = %v, %v, %v", to, do, ok)
	}
	if to, do, ok := Draining.Step(Ping); to != Draining || do != nil || ok {
		t.Errorf("Draining.Step(Ping) = %v, %v, %v", to, do, ok)
	}
	for e := range successorEvents {
		if to, do, ok := Gone.Step(e); to != Gone || do != nil || !ok {
			t.Errorf("Gone.Step(%v) = %v, %v, %v", e, to, do, ok)
		}
	}
	for e := range incumbentEvents {
		if to, do, ok := Closed.Step(e); to != Closed || do != nil || !ok {
			t.Errorf("Closed.Step(%v) = %v, %v, %v", e, to, do, ok)
		}
	}
}

// TestPhases: every pair of states has a phase, and only a generation that owns has one in which it serves.
func TestPhases(t *testing.T) {
	for s := range successors {
		for i := range incumbents {
			p := PhaseOf(s, i)
			if p >= phases || p.String() == "" {
				t.Errorf("%v, %v: no phase", s, i)
			}
			serves := p == PhaseServing || p == PhaseOffering || p == PhaseProbation
			owner := s == Trial || s == TrialSevered || s == TrialAlone || s == LeavingTrial ||
				(s == Confirmed || s == Answered || s == Severed || s == Free || s == Alone || s == Leaving) && (i == Idle || i == Offering)
			if serves != owner {
				t.Errorf("%v, %v: phase %v", s, i, p)
			}
		}
	}
}

// TestPhaseOfClose: a generation that is closed keeps its phase until it ends. One on probation does not look as if it had
// confirmed.
func TestPhaseOfClose(t *testing.T) {
	rows := 0
	for s := range successors {
		to, _, ok := s.Step(Stop)
		if !ok || s == Gone {
			continue
		}
		rows++
		for i := range incumbents {
			if was, is := PhaseOf(s, i), PhaseOf(to, i); is != was {
				t.Errorf("%v, %v, closed: %v becomes %v", s, i, was, is)
			}
		}
	}
	if rows < 11 {
		t.Errorf("only %d rows", rows)
	}
}

// TestOnRequest: in each phase a request for an upgrade has one answer.
func TestOnRequest(t *testing.T) {
	want := map[Phase][2]Request{ // not busy, and busy
		PhaseStarting: {RequestWaits, RequestWaits}, PhaseProbation: {RequestWaits, RequestWaits},
		PhaseServing: {RequestServed, RequestWaits}, PhaseOffering: {RequestServed, RequestWaits},
		PhaseSwitching: {RequestWaits, RequestWaits}, PhaseGuarding: {RequestWaits, RequestWaits},
		PhaseDraining: {RequestPassedOn, RequestPassedOn}, PhaseStopped: {RequestVoid, RequestVoid},
	}
	for p := range phases {
		if got := [2]Request{OnRequest(p, false), OnRequest(p, true)}; got != want[p] {
			t.Errorf("%v: %v, not %v", p, got, want[p])
		}
	}
}

func TestNames(t *testing.T) {
	unique := func(names ...string) {
		seen := map[string]bool{}
		for i, n := range names {
			if n == "" || seen[n] {
				t.Errorf("name %d, %q, is missing or there twice", i, n)
			}
			seen[n] = true
		}
	}
	unique(incumbentNames[:]...)
	unique(successorNames[:]...)
	unique(incumbentEventNames[:]...)
	unique(successorEventNames[:]...)
	unique(phaseNames[:]...)
	for a, n := range actionNames {
		if n == "" {
			t.Errorf("action %d has no name", a)
		}
	}
}

// TestImportsNothing holds the package to what its comment says.
func TestImportsNothing(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range parsed.Imports {
			t.Errorf("%s imports %s", f.Name(), i.Path.Value)
		}
		looked++
	}
	if looked < 3 {
		t.Errorf("looked at %d files only", looked)
	}
}
