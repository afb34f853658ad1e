package succession

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
	if i == Unconfirmed || i == BlockedOwned {
		for _, e := range []IncumbentEvent{SuccessorLeaves, DiedWished} {
			if r, ok := find(t.inc[i], e); ok && r.to != ReleasedUnconfirmed {
				fault(e, "it waits for one that takes nothing")
			}
		}
	}
	if r, ok := find(t.inc[i], SuccessorLeaves); ok && (i == BlockedGuard || i == Released) && r.to != Relieved {
		fault(SuccessorLeaves, "its end would leave nobody without service")
	}
	if r, ok := find(t.inc[i], Owned); ok && i == Relieved && r.to != Released {
		fault(Owned, "its end would leave nobody to serve")
	}
	if i == Released || i == Relieved {
		for e, to := range map[IncumbentEvent]Incumbent{
			Died: map[Incumbent]Incumbent{Released: Orphaned, Relieved: ReleasedAlone}[i], DiedWished: ReleasedAlone, LinkEnd: ReleasedAlone,
		} {
			if e == DiedWished && i == Relieved {
				continue
			}
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
		if r, ok := find(t.inc[i], SuccessorLeaves); ok && i != Unconfirmed && r.to != Relieved {
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
		if does(r.do, SupersedeUnconfirmed) != (r.to == ReleasedUnconfirmed) {
			fault(r.on[0], "it is superseded by nobody, or waits for one that takes nothing")
		}
		if does(r.do, Release) && r.on[0] != SuccessorLeaves && r.to != Released && r.to != ReleasedUnconfirmed || does(r.do, SendReleased) && r.to != i {
			fault(r.on[0], "it is forgotten whether the successor has said GOODBYE")
		}
		if does(r.do, EndStale) && r.to != Stale || does(r.do, LeaveToHeir) && r.to != Left {
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
			{r.to == Left, LeaveToHeir},
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

// reports says whether a reports, always or sometimes. Nothing may follow such an action in its row: what it reports may be decided
// otherwise.
func reports(a Action) bool {
	switch a {
	case ReadToken, Pause, SendCommit, Fence, Revive, SendReceipts, Open, HandBack, ReceiveConns, DepartBack:
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
