package succession

// empty are the frames that mean nothing to a successor in a state.
var empty = map[Successor][]SuccessorEvent{
	Trial:        {Commit, Aborted, Ping, Conns, Confirmation, ReturnTaken, UpgradeAsked, Unexpected},
	Confirmed:    {Commit, Aborted, Confirmation, ReturnTaken, Unexpected},
	Answered:     {Commit, Aborted, Confirmation, ReturnTaken, Unexpected},
	Free:         {Commit, Aborted, ReleasedSaid, Confirmation, ReturnTaken, Unexpected},
	Severed:      {AskRelease},
	Leaving:      {Commit, Aborted, Ping, ReleasedSaid, Confirmation, ReturnTaken, UpgradeAsked, Unexpected},
	LeavingTrial: {Commit, Aborted, Ping, ReleasedSaid, Conns, Confirmation, ReturnTaken, UpgradeAsked, Unexpected},
	Returning:    {Stop, Commit, Ping, ReleasedSaid, Conns, ReturnTaken, UpgradeAsked, Unexpected},
	Departing:    {Stop},
	Draining:     {Stop},
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
	case Preparing, PreparingHeir, Proving, ProvingHeir, Trial, Confirmed, Answered, Free, Leaving, LeavingTrial, Returning:
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
			case e == Stop && successorPhases[s] == PhaseProbation:
				to = LeavingTrial
			case e == Stop:
				to = Leaving
			case (s == Leaving || s == LeavingTrial) && e != Drained:
				to = s
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
