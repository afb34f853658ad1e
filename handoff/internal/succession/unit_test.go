package succession

import (
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// faultsOf says what is wrong with the tables by themselves. The explorer does not see it: what peers say that honest ones
// never would, what the operator hears, and what the driver relies on.
func faultsOf(t *tables) []string {
	var wrong []string
	for i := range incumbents {
		if i != Closed {
			wrong = append(wrong, incumbentFaults(t, i)...)
		}
	}
	for s := range successors {
		if s != Gone {
			wrong = append(wrong, successorFaults(t, s)...)
		}
	}
	if t.mayCommit(Gone) || t.mayHandBack(Gone, Idle) {
		wrong = append(wrong, "it is over, and may do something")
	}
	return append(append(wrong, overFaults(t.inc[Closed], Closed)...), overFaults(t.suc[Gone], Gone)...)
}

// overFaults is for the states in which all is over: the driver may still report anything, which changes nothing.
func overFaults[S interface {
	~uint8
	String() string
}, E ~uint8](rows []row[S, E], s S) []string {
	if len(rows) != 1 || len(rows[0].on) < 20 || rows[0].to != s || len(rows[0].do) > 0 {
		return []string{s.String() + ": it is over, and something changes"}
	}
	return nil
}

// meaningless are the frames that an incumbent in a state passes over.
var meaningless = map[Incumbent][]IncumbentEvent{
	Unconfirmed:      {Owned, ReleaseAsked, Pong, Taken, OtherFrame},
	Guard:            {Owned, Confirm, Pong, OtherFrame},
	Probing:          {Owned, Confirm, OtherFrame},
	Asking:           {Owned, Confirm, OtherFrame},
	Released:         {Owned, Confirm, Returned, Failed, Pong, Drop, OtherFrame},
	Relieved:         {Confirm, Returned, Failed, SuccessorLeaves, Pong, Drop, OtherFrame},
	ReleasedAlone:    {Died, DiedWished},
	Orphaned:         {Died, DiedWished},
	BlockedCommitted: {Confirm, Failed, SuccessorLeaves, ReleaseAsked, Pong, Taken, OtherFrame, LinkEnd},
	BlockedOwned:     {Owned, Failed, ReleaseAsked, Pong, Taken, OtherFrame, LinkEnd},
	BlockedGuard:     {Owned, Confirm, Failed, OtherFrame, LinkEnd},
}

// leads are events of which the next state is the same wherever they are more than a frame without meaning.
var leads = map[IncumbentEvent]Incumbent{PauseFailed: ReclaimingCommitted, BatchOverdue: Probing, Behind: Stale}

func incumbentFaults(t *tables, i Incumbent) []string {
	var wrong []string
	fault := func(e IncumbentEvent, s string) { wrong = append(wrong, i.String()+", "+e.String()+": "+s) }
	switch i {
	case Committed, Unconfirmed, Guard, Probing, Asking, Released, Relieved, BlockedCommitted, BlockedOwned, BlockedGuard:
		for _, e := range frames {
			if _, ok := find(t.inc[i], e); !ok {
				fault(e, "not decided")
			}
		}
	}
	for _, e := range meaningless[i] {
		if r, ok := find(t.inc[i], e); ok && (r.to != i || len(r.do) > 0) {
			fault(e, "means nothing, and changes something")
		}
	}
	if r, ok := find(t.inc[i], SuccessorLeaves); ok && (i == BlockedOwned || i == BlockedGuard || i == Released) && r.to != Relieved {
		fault(SuccessorLeaves, "its end would leave nobody without service")
	}
	if r, ok := find(t.inc[i], Owned); ok && i == Relieved && r.to != Released {
		fault(Owned, "its end would leave nobody to serve")
	}
	if i == Released || i == Relieved {
		for e, to := range map[IncumbentEvent]Incumbent{
			Died: map[Incumbent]Incumbent{Released: Orphaned, Relieved: ReleasedAlone}[i], DiedWished: ReleasedAlone, LinkEnd: ReleasedAlone,
		} {
			if r, _ := find(t.inc[i], e); r.to != to || !does(r.do, EndDeparture) {
				fault(e, "leads elsewhere, or connections go to nobody")
			}
		}
	}
	if r, ok := find(t.inc[i], Returned); ok && (i == Unconfirmed || i == BlockedOwned) && r.to != ReclaimingOwned {
		fault(Returned, "it owned")
	}
	if r, ok := find(t.inc[i], OwnedUnread); ok && i == Committed && r.to != ReclaimingOwned {
		fault(OwnedUnread, "it owned")
	}
	if i == Committed {
		for _, e := range []IncumbentEvent{Confirm, Returned, Failed, SuccessorLeaves, ReleaseAsked, Pong, Taken, OtherFrame} {
			if r, _ := find(t.inc[i], e); r.to != ReclaimingCommitted {
				fault(e, "is a failure")
			}
		}
	}
	if i == Unconfirmed || i == Guard || i == Probing || i == Asking {
		if r, ok := find(t.inc[i], SuccessorLeaves); ok && r.to != Relieved {
			fault(SuccessorLeaves, "its end would leave nobody without service")
		}
		if r, _ := find(t.inc[i], Failed); r.to != ReclaimingOwned && r.to != ReclaimingGuard {
			fault(Failed, "is a failure")
		}
	}
	for _, r := range t.inc[i] {
		for _, e := range r.on {
			if to, ok := leads[e]; ok && r.to != to && (r.to != i || e != BatchOverdue) && i != Unconfirmed && i != Guard {
				fault(e, "leads elsewhere")
			}
			if (e == Drop || e == Taken) && i != Committed && r.to != i {
				fault(e, "changes the state")
			}
			if e == Close && r.to != Closed {
				fault(e, "does not close")
			}
			if i == Guard && e == BatchOverdue && r.to != Probing {
				fault(e, "ends the guard too early")
			}
		}
	}
	count := map[IncumbentEvent]int{}
	for _, r := range t.inc[i] {
		for _, e := range r.on {
			if count[e]++; count[e] > 1 {
				fault(e, "decided twice")
			}
		}
		for k, a := range r.do {
			if reports(a) && k < len(r.do)-1 {
				fault(r.on[0], a.String()+" reports, and is not the last")
			}
		}
		if does(r.do, Release) && r.on[0] != SuccessorLeaves && r.to != Released || does(r.do, SendReleased) && r.to != i {
			fault(r.on[0], "it is forgotten whether the successor has said GOODBYE")
		}
		if does(r.do, EndStale) && r.to != Stale || does(r.do, Bequeath) && r.to != Left {
			fault(r.on[0], "leads elsewhere")
		}
		blocked := r.to == BlockedCommitted || r.to == BlockedOwned || r.to == BlockedGuard
		for _, must := range []struct {
			when bool
			do   Action
		}{
			{blocked && r.to != i, ReportBlocked},
			{r.to == Orphaned && i != Orphaned, ReportOrphaned},
			{r.to == Stale && i != Stale, EndStale},
			{r.to == Stale && i != Stale, Dismiss},
			{r.to == Left, Bequeath},
			{(i == Offering || i == Idle) && r.to == Idle, Dismiss},
			{(i == Released || i == Relieved) && r.on[0] == BatchOverdue, WarnStuck},
			{(i == Released || i == Relieved) && r.on[0] == ReleaseAsked, SendReleased},
			{r.to == Closed && meansLink(i), SendBye},
		} {
			if must.when && !does(r.do, must.do) {
				fault(r.on[0], "does not "+must.do.String())
			}
		}
	}
	return wrong
}

// meansLink are the states in which a successor waits to hear that this generation never takes the sockets back.
func meansLink(i Incumbent) bool {
	switch i {
	case Unconfirmed, Guard, Probing, Asking, Released, Relieved, BlockedCommitted, BlockedOwned, BlockedGuard:
		return true
	}
	return false
}

func reports(a Action) bool {
	switch a {
	case ReadToken, Pause, Fence, Revive, Open:
		return true
	}
	return false
}

func does(do []Action, a Action) bool {
	for _, b := range do {
		if a == b {
			return true
		}
	}
	return false
}

// empty are the frames that mean nothing to a successor in a state.
var empty = map[Successor][]SuccessorEvent{
	Trial:     {Commit, Aborted, Ping, Conns, Confirmation, ReturnTaken, UpgradeAsked, Unexpected},
	Confirmed: {Commit, Aborted, Confirmation, ReturnTaken, Unexpected},
	Answered:  {Commit, Aborted, Confirmation, ReturnTaken, Unexpected},
	Free:      {Commit, Aborted, ReleasedSaid, Confirmation, ReturnTaken, Unexpected},
	Severed:   {AskRelease},
	Leaving:   {Commit, Aborted, Ping, ReleasedSaid, Confirmation, ReturnTaken, UpgradeAsked, Unexpected},
	Returning: {Stop, Commit, Ping, ReleasedSaid, Conns, ReturnTaken, UpgradeAsked, Unexpected},
	Departing: {Stop},
	Draining:  {Stop},
}

// answers are what a successor does about what it is asked.
var answers = map[SuccessorEvent]Action{
	Ping: SendPong, Conns: ReceiveConns, UpgradeAsked: StartUpgrade, AskRelease: SendRelease, Confirmation: DepartBack,
}

func successorFaults(t *tables, s Successor) []string {
	var wrong []string
	fault := func(e SuccessorEvent, w string) { wrong = append(wrong, s.String()+", "+e.String()+": "+w) }
	prepares := s == Preparing || s == PreparingHeir || s == Proving || s == ProvingHeir
	switch s {
	case Preparing, PreparingHeir, Proving, ProvingHeir, Trial, Confirmed, Answered, Free, Leaving, Returning:
		for _, e := range said {
			r, ok := find(t.suc[s], e)
			if !ok {
				fault(e, "not decided")
			}
			ends := e == Aborted || e == PredecessorLeaves || e == Bye
			if prepares && !ends && (e != Commit || s < Proving) && (r.to != Gone || !does(r.do, SendFailed) || !does(r.do, HangUp)) {
				fault(e, "is a failure, and is to be told")
			}
		}
	}
	for _, e := range empty[s] {
		if r, ok := find(t.suc[s], e); ok && (r.to != s || len(r.do) > 0) {
			fault(e, "means nothing, and changes something")
		}
	}
	if r, ok := find(t.suc[s], GiveUp); ok && prepares && !does(r.do, SendFailed) {
		fault(GiveUp, "is not told")
	}
	if r, ok := find(t.suc[s], TooLate); ok && prepares && !does(r.do, SendFailed) {
		fault(TooLate, "is not told")
	}
	if s == Trial || s == Confirmed || s == Answered || s == Free {
		for _, e := range []SuccessorEvent{Bye, PredecessorLeaves} {
			if r, _ := find(t.suc[s], e); r.to != TrialAlone && r.to != Alone {
				fault(e, "is an end")
			}
		}
		if r, _ := find(t.suc[s], Stop); !does(r.do, SendGoodbye) {
			fault(Stop, "is not told")
		}
	}
	if _, ok := find(t.suc[s], Unfit); ok != t.mayHandBack(s, Idle) || ok != t.mayHandBack(s, Offering) {
		fault(Unfit, "does not agree with MayHandBack")
	}
	for i := range incumbents {
		if i != Idle && i != Offering && t.mayHandBack(s, i) {
			fault(Unfit, "MayHandBack forgets the successor")
		}
	}
	_, asks := find(t.suc[s], AskRelease)
	if t.mayCommit(s) != (successorPhases[s] == PhaseServing && !asks && s != Leaving) {
		fault(AskRelease, "does not agree with MayCommit")
	}
	if r, _ := find(t.suc[s], OpenFailed); s == Opening && !does(r.do, PutBack) {
		fault(OpenFailed, "keeps the token")
	}
	serves := s == Confirmed || s == Answered || s == Free
	for _, r := range t.suc[s] {
		for _, e := range r.on {
			to := r.to
			switch {
			case e == Unfit:
				to = Returning
			case e == ReadTaken:
				to = map[Successor]Successor{Taking: Opening, TakingAlone: OpeningAlone}[s]
			case e == Opened:
				to = map[Successor]Successor{Opening: Confirmed, OpeningAlone: Alone}[s]
			case e == OpenedOnTrial:
				to = map[Successor]Successor{Opening: Trial, OpeningAlone: TrialAlone}[s]
			case e == Proved:
				to = map[Successor]Successor{Trial: Confirmed, TrialSevered: Severed, TrialAlone: Alone}[s]
			case serves && e == ReleasedSaid:
				to = Free
			case serves && (e == Conns || e == UpgradeAsked), s == Free && e == Ping:
				to = s
			case (serves || s == Severed) && (e == Bye || e == PredecessorDied):
				to = Alone
			case e == Stop && (s == Returning || s == Departing || s == Draining):
				to = s
			case e == Stop:
				to = Leaving
			case s == Leaving && e != Drained:
				to = Leaving
			case e == Drained, e == ReadGone, e == OpenFailed, e == GiveUp, prepares && e == Aborted:
				to = Gone
			}
			if r.to != to {
				fault(e, "leads elsewhere")
			}
		}
	}
	for _, r := range t.suc[s] {
		if s >= Opening && r.to < Opening {
			fault(r.on[0], "it has owned, and prepares itself")
		}
		if r.to == Taking && r.on[0] != Commit {
			fault(r.on[0], "the predecessor is gone")
		}
	}
	sure := func(s Successor) bool { return s == TrialAlone || s == Alone || s == Free }
	for _, r := range t.suc[s] {
		if sure(r.to) && !sure(s) && !does(r.do, Settle) {
			fault(r.on[0], "the Sources wait for ever")
		}
		for _, e := range r.on {
			if (s == Returning || s == Departing) && r.to == Gone && e != Drained {
				fault(e, "it ends before it is drained")
			}
			if a, ok := answers[e]; ok && (s == Confirmed || s == Answered || s == Free || s == Returning && e == Confirmation) && !does(r.do, a) &&
				(e != Confirmation || s == Returning) {
				fault(e, "gets no answer")
			}
		}
	}
	count := map[SuccessorEvent]int{}
	for _, r := range t.suc[s] {
		for _, e := range r.on {
			if count[e]++; count[e] > 1 {
				fault(e, "decided twice")
			}
		}
		for k, a := range r.do {
			switch {
			case reports(a) && k < len(r.do)-1:
				fault(r.on[0], a.String()+" reports, and is not the last")
			case a == HangUp && k < len(r.do)-1:
				fault(r.on[0], "it hangs up before it is done")
			}
		}
	}
	return wrong
}

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
			owner := s == Trial || s == TrialSevered || s == TrialAlone ||
				(s == Confirmed || s == Answered || s == Severed || s == Free || s == Alone || s == Leaving) && (i == Idle || i == Offering)
			if serves != owner {
				t.Errorf("%v, %v: phase %v", s, i, p)
			}
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
