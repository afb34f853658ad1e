package succession

// Incumbent is where a generation stands towards its successor.
type Incumbent uint8

// The states of the incumbent. Those that are called Reclaiming, Fencing and Blocked come in three: what is known of the
// successor when it has to be replaced decides which late word of it counts.
const (
	// Idle: there is no successor. The sockets are this generation's.
	Idle Incumbent = iota
	// Offering: a successor prepares itself. This generation serves on.
	Offering
	// Pausing: nobody accepts. The sections of the gap move.
	Pausing
	// Committed: COMMIT is sent. Who reads the token owns.
	Committed
	// Unconfirmed: the successor owns. It has not confirmed.
	Unconfirmed
	// Guard: the successor has confirmed. If it fails, this generation takes the sockets back.
	Guard
	// Probing: as Guard. The successor has not answered a batch of connections, and was sent a PING.
	Probing
	// Asking: the time of the guard is over. The successor was sent a PING.
	Asking
	// Released: this generation cannot be revived any more. It drains.
	Released
	// Relieved: as Released. The end of the successor would leave nobody without service: it has a successor of its own, or it
	// ends on purpose.
	Relieved
	// ReleasedAlone: as Released. The successor is gone, or the link to it.
	ReleasedAlone
	// Orphaned: as ReleasedAlone. The successor died, nobody wished it, and nobody serves.
	Orphaned
	// ReleasedUnconfirmed: as Released. The successor was ended at somebody's wish before it had confirmed. It takes nothing, so
	// the attempt is over, and the link is closed.
	ReleasedUnconfirmed

	// ReclaimingCommitted: the token is being read. The successor has not said OWNED.
	ReclaimingCommitted
	// ReclaimingOwned: the token is being read. The successor has owned.
	ReclaimingOwned
	// ReclaimingGuard: the token is being read. The successor has confirmed.
	ReclaimingGuard
	// FencingCommitted: the token is gone, the successor is being killed. It has not said OWNED.
	FencingCommitted
	// FencingOwned: the token is gone, the successor is being killed. It has owned.
	FencingOwned
	// FencingGuard: the token is gone, the successor is being killed. It has confirmed.
	FencingGuard
	// BlockedCommitted: the successor has the token, does not answer and cannot be killed. It has not said OWNED.
	BlockedCommitted
	// BlockedOwned: the successor owns, does not answer and cannot be killed. It has not confirmed.
	BlockedOwned
	// BlockedGuard: the successor owns, does not answer and cannot be killed. It has confirmed.
	BlockedGuard
	// Reviving: the successor is dead, or the token is back. What the sections say of a revival is being done.
	Reviving

	// Stale: this generation has ended, because its state is behind.
	Stale
	// Left: this generation was closed. The heir has the sockets.
	Left
	// Closed: this generation was closed.
	Closed

	incumbents
)

// IncumbentEvent is something that happens to the incumbent.
type IncumbentEvent uint8

// The events of the incumbent. The driver reports one at a time. Before it reports the end of the link or a death it has
// reported all that was queued before, and before it reports a deadline, the end and the death too. None comes while an
// action that reports is under way.
const (
	// Begin: a successor says HELLO, or is being started, and this generation owns.
	Begin IncumbentEvent = iota
	// Agreed: the successor has proved what it holds, and nobody before this generation can be revived (see MayCommit).
	// Nothing was opened or closed since the offer, and this generation is not being closed.
	Agreed
	// AttemptFailed: the preparation ends without an agreement. The sockets are not left to an heir.
	AttemptFailed
	// Paused: nothing accepts any more, no accept is in flight, and the successor has restored the sections.
	Paused
	// PauseFailed: something went wrong before that. The sockets are not left to an heir.
	PauseFailed
	// TokenTaken: this side has read the 1, in one act. So the successor does not own, and never will.
	TokenTaken
	// TokenGone: the token was read, and held nothing; or it cannot be read.
	TokenGone
	// Fenced: the successor was seen dead.
	Fenced
	// Unkillable: the successor may not be killed, or does not die in StepTimeout.
	Unkillable
	// Revived: the sections have done what they must.
	Revived
	// Behind: the state that the successor had must not be behind, and is.
	Behind

	// Owned: OWNED. In Committed the token is gone, too; or the successor has put it back since, and FAILED with returned is
	// queued.
	Owned
	// OwnedUnread: OWNED in Committed, although the token holds the 1, and nothing says that it was put back.
	OwnedUnread
	// Confirm: CONFIRM.
	Confirm
	// Returned: FAILED with returned.
	Returned
	// Failed: FAILED without returned.
	Failed
	// SuccessorLeaves: GOODBYE.
	SuccessorLeaves
	// ReleaseAsked: RELEASE, of a successor that lives. That of a dead one is OtherFrame: it cannot serve any more.
	ReleaseAsked
	// Pong: PONG, of a successor that lives. That of a dead one is OtherFrame.
	Pong
	// Drop: DROP.
	Drop
	// Taken: TAKEN.
	Taken
	// OtherFrame: a frame that is well-formed and has no meaning in any of these states.
	OtherFrame

	// LinkEnd: the link has ended, or a frame was malformed, and the successor lives. Unless this is Committed or
	// Relieved, it has had StepTimeout to die. It is reported once, and nothing that comes over the link after it.
	LinkEnd
	// Died: the successor is dead, and nobody wished it, as far as is known. It is reported instead of LinkEnd when the link has
	// ended; and once after the end of the link, in a state that waits.
	Died
	// DiedWished: as Died, but it exited with status 0 or was killed by SIGTERM or SIGINT. It is not reported in Committed, where
	// nobody accepts while somebody asks, and in Relieved, where it makes no difference.
	DiedWished
	// Timeout: the patience of this state is over. Committed, Probing, Asking: StepTimeout. Unconfirmed: confirmWithin + StepTimeout.
	Timeout
	// GuardOver: the time of the guard is over. It is reported once, in Guard or Probing.
	GuardOver
	// BatchOverdue: the oldest batch of connections in flight is not answered for StepTimeout. It is reported in Guard,
	// Released and Relieved.
	BatchOverdue
	// Close: this generation is being closed, or is done. It is reported in the states that wait, but not in Committed, which
	// has to end first; in Offering and Pausing the attempt fails instead.
	Close
	// CloseForHeir: the attempt ends because this generation is being closed. The successor is an heir, somebody else started
	// it, it has all that was offered, and what only one process may have was let go of.
	CloseForHeir

	incumbentEvents
)

// frames are the events that a peer can cause in any state, by what it says. The driver reports them only in states that wait.
var frames = []IncumbentEvent{Owned, Confirm, Returned, Failed, SuccessorLeaves, ReleaseAsked, Pong, Drop, Taken, OtherFrame}

type incumbentRow = row[Incumbent, IncumbentEvent]

func on(events ...IncumbentEvent) []IncumbentEvent { return events }
func do(actions ...Action) []Action                { return actions }

// incumbentTable is the incumbent's side of the switch. What is not in it cannot be: the explorer has not found a way to it,
// and Step says so.
var incumbentTable = [incumbents][]incumbentRow{
	Idle: {
		{on(Begin), Offering, nil},
		{on(AttemptFailed), Idle, do(Dismiss)}, // it came before this generation was ready, and did not wait
		{on(Close), Closed, nil},
	},
	Offering: {
		{on(Agreed), Pausing, do(Pause)},
		{on(AttemptFailed), Idle, do(Dismiss)},
		{on(CloseForHeir), Left, do(LeaveToHeir)},
	},
	Pausing: {
		{on(Paused), Committed, do(SendCommit)},
		// The token was permitted to nobody. Reading it finds out a successor that took it all the same.
		{on(PauseFailed), ReclaimingCommitted, do(ReadToken)},
		{on(CloseForHeir), Left, do(LeaveToHeir)},
	},
	Committed: {
		{on(Owned), Unconfirmed, do(ApplyDrops, Park)},
		{on(OwnedUnread), ReclaimingOwned, do(ApplyDrops, Park, ReadToken)},
		{on(Drop), Committed, do(KeepDrop)},
		{on(Confirm, Returned, Failed, SuccessorLeaves, ReleaseAsked, Pong, Taken, OtherFrame, LinkEnd, Died, Timeout),
			ReclaimingCommitted, do(ReadToken)},
	},
	Unconfirmed: {
		{on(Confirm), Guard, do(Supersede)},
		{on(Drop), Unconfirmed, do(ApplyDrop)},
		{on(SuccessorLeaves, DiedWished), ReleasedUnconfirmed, do(SupersedeUnconfirmed, Release)},
		{on(Returned, Failed, LinkEnd, Died, Timeout), ReclaimingOwned, do(ReadToken)},
		{on(Owned, ReleaseAsked, Pong, Taken, OtherFrame), Unconfirmed, nil},
		{on(Close), Closed, do(SendBye)},
	},
	Guard: {
		{on(GuardOver), Asking, do(SendPing)},
		{on(BatchOverdue), Probing, do(SendPing)},
		{on(SuccessorLeaves), Relieved, do(Release)},
		{on(ReleaseAsked, DiedWished), Released, do(Release)},
		{on(Returned, Failed, LinkEnd, Died), ReclaimingGuard, do(ReadToken)},
		{on(Taken), Guard, do(CountTaken)},
		{on(Drop), Guard, do(ApplyDrop)},
		{on(Owned, Confirm, Pong, OtherFrame), Guard, nil},
		{on(Close), Closed, do(EndDeparture, SendBye)},
	},
	Probing: {
		{on(Pong), Guard, do(Excuse)},
		{on(GuardOver), Asking, nil}, // the PING is on its way
		{on(SuccessorLeaves), Relieved, do(Release)},
		{on(ReleaseAsked, DiedWished), Released, do(Release)},
		{on(Returned, Failed, LinkEnd, Died, Timeout), ReclaimingGuard, do(ReadToken)},
		{on(Taken), Probing, do(CountTaken)},
		{on(Drop), Probing, do(ApplyDrop)},
		{on(Owned, Confirm, OtherFrame), Probing, nil},
		{on(Close), Closed, do(EndDeparture, SendBye)},
	},
	Asking: {
		{on(SuccessorLeaves), Relieved, do(Release)},
		{on(Pong, ReleaseAsked, DiedWished), Released, do(Release)},
		{on(Returned, Failed, LinkEnd, Died, Timeout), ReclaimingGuard, do(ReadToken)},
		{on(Taken), Asking, do(CountTaken)},
		{on(Drop), Asking, do(ApplyDrop)},
		{on(Owned, Confirm, OtherFrame), Asking, nil},
		{on(Close), Closed, do(EndDeparture, SendBye)},
	},
	Released: {
		{on(ReleaseAsked), Released, do(SendReleased)},
		{on(Taken), Released, do(CountTaken)},
		{on(BatchOverdue), Released, do(WarnStuck)},
		{on(LinkEnd, DiedWished), ReleasedAlone, do(EndDeparture)},
		{on(Died), Orphaned, do(EndDeparture, ReportOrphaned)},
		{on(SuccessorLeaves), Relieved, nil},
		{on(Owned, Confirm, Returned, Failed, Pong, Drop, OtherFrame), Released, nil},
		{on(Close), Closed, do(EndDeparture, SendBye)},
	},
	Relieved: {
		{on(Owned), Released, nil}, // its own successor failed
		{on(ReleaseAsked), Relieved, do(SendReleased)},
		{on(Taken), Relieved, do(CountTaken)},
		{on(BatchOverdue), Relieved, do(WarnStuck)},
		{on(LinkEnd, Died), ReleasedAlone, do(EndDeparture)},
		{on(Confirm, Returned, Failed, SuccessorLeaves, Pong, Drop, OtherFrame), Relieved, nil},
		{on(Close), Closed, do(EndDeparture, SendBye)},
	},
	ReleasedAlone: {
		// The link had ended, or its end has told. What it would have said about its end, it could not say any more.
		{on(Died, DiedWished), ReleasedAlone, nil},
		{on(Close), Closed, nil},
	},
	Orphaned: {
		{on(Died, DiedWished), Orphaned, nil}, // as it was told when the link ended
		{on(Close), Closed, nil},
	},
	ReleasedUnconfirmed: {{on(Close), Closed, nil}},

	ReclaimingCommitted: {
		{on(TokenTaken), Idle, do(Reopen, Dismiss)},
		{on(TokenGone), FencingCommitted, do(Fence)},
	},
	ReclaimingOwned: {
		{on(TokenTaken), Reviving, do(Revive)},
		{on(TokenGone), FencingOwned, do(Fence)},
	},
	ReclaimingGuard: {
		{on(TokenTaken), Reviving, do(Revive)},
		{on(TokenGone), FencingGuard, do(Fence)},
	},
	FencingCommitted: {
		{on(Fenced), Reviving, do(Revive)},
		{on(Unkillable), BlockedCommitted, do(ReportBlocked)},
	},
	FencingOwned: {
		{on(Fenced), Reviving, do(Revive)},
		{on(Unkillable), BlockedOwned, do(ReportBlocked)},
	},
	FencingGuard: {
		{on(Fenced), Reviving, do(Revive)},
		{on(Unkillable), BlockedGuard, do(ReportBlocked)},
	},
	// The successor was stopped, most likely, and goes on. What it says then counts as if it were in time, as long as this
	// generation has not taken the sockets back.
	BlockedCommitted: {
		{on(Owned), Unconfirmed, do(ApplyDrops, Park)},
		{on(Returned), ReclaimingCommitted, do(ReadToken)}, // it never opened
		{on(Drop), BlockedCommitted, do(KeepDrop)},
		{on(Died, DiedWished), Reviving, do(Revive)},
		{on(Confirm, Failed, SuccessorLeaves, ReleaseAsked, Pong, Taken, OtherFrame, LinkEnd), BlockedCommitted, nil},
		{on(Close), Closed, do(SendBye)},
	},
	BlockedOwned: {
		{on(Confirm), Guard, do(Supersede)},
		{on(Returned), ReclaimingOwned, do(ReadToken)},
		{on(SuccessorLeaves, DiedWished), ReleasedUnconfirmed, do(SupersedeUnconfirmed, Release)},
		{on(Drop), BlockedOwned, do(ApplyDrop)},
		{on(Died), Reviving, do(Revive)},
		{on(Owned, Failed, ReleaseAsked, Pong, Taken, OtherFrame, LinkEnd), BlockedOwned, nil},
		{on(Close), Closed, do(SendBye)},
	},
	BlockedGuard: {
		{on(SuccessorLeaves), Relieved, do(Release)},
		{on(Pong, ReleaseAsked, DiedWished), Released, do(Release)},
		{on(Returned), ReclaimingGuard, do(ReadToken)},
		{on(Taken), BlockedGuard, do(CountTaken)},
		{on(Drop), BlockedGuard, do(ApplyDrop)},
		{on(Died), Reviving, do(Revive)},
		{on(Owned, Confirm, Failed, OtherFrame, LinkEnd), BlockedGuard, nil},
		{on(Close), Closed, do(EndDeparture, SendBye)},
	},
	Reviving: {
		{on(Revived), Idle, do(Reopen, DismissOwner)},
		{on(Behind), Stale, do(EndStale, Dismiss)},
	},

	Stale:  {{on(Close), Closed, nil}},
	Left:   {{on(Close), Closed, nil}},
	Closed: {{every[IncumbentEvent](incumbentEvents), Closed, nil}}, // the driver may not know yet
}

// Waits reports whether the driver waits for the next event in state i. In the other states the next event is the report of an
// action, or the attempt is over, or has not come to the switch.
func (i Incumbent) Waits() bool {
	switch i {
	case Committed, Unconfirmed, Guard, Probing, Asking, Released, Relieved, ReleasedAlone, Orphaned, BlockedCommitted, BlockedOwned, BlockedGuard:
		return true
	default:
		return false
	}
}

// Step decides. It reports false if e cannot be in state i: the driver has broken a promise.
func (i Incumbent) Step(e IncumbentEvent) (Incumbent, []Action, bool) {
	r, ok := find(incumbentTable[i], e)
	if !ok {
		return i, nil, false
	}
	return r.to, r.do, true
}

var incumbentPhases = [incumbents]Phase{
	Idle: PhaseServing, Offering: PhaseOffering, Pausing: PhaseSwitching, Committed: PhaseSwitching, Unconfirmed: PhaseGuarding,
	Guard: PhaseDraining, Probing: PhaseDraining, Asking: PhaseDraining, Released: PhaseDraining, Relieved: PhaseDraining, ReleasedAlone: PhaseDraining, Orphaned: PhaseDraining,
	ReleasedUnconfirmed: PhaseDraining,
	ReclaimingCommitted: PhaseSwitching, ReclaimingOwned: PhaseGuarding, ReclaimingGuard: PhaseDraining,
	FencingCommitted: PhaseSwitching, FencingOwned: PhaseGuarding, FencingGuard: PhaseDraining,
	BlockedCommitted: PhaseSwitching, BlockedOwned: PhaseGuarding, BlockedGuard: PhaseDraining,
	Reviving: PhaseGuarding, Stale: PhaseStopped, Left: PhaseGuarding, Closed: PhaseStopped,
}

var incumbentNames = [incumbents]string{
	Idle: "IDLE", Offering: "OFFERING", Pausing: "PAUSING", Committed: "COMMITTED", Unconfirmed: "UNCONFIRMED", Guard: "GUARD",
	Probing: "PROBING", Asking: "ASKING", Released: "RELEASED", Relieved: "RELIEVED", ReleasedAlone: "RELEASED ALONE", Orphaned: "ORPHANED",
	ReleasedUnconfirmed: "RELEASED UNCONFIRMED",
	ReclaimingCommitted: "RECLAIMING COMMITTED", ReclaimingOwned: "RECLAIMING OWNED", ReclaimingGuard: "RECLAIMING GUARD",
	FencingCommitted: "FENCING COMMITTED", FencingOwned: "FENCING OWNED", FencingGuard: "FENCING GUARD",
	BlockedCommitted: "BLOCKED COMMITTED", BlockedOwned: "BLOCKED OWNED", BlockedGuard: "BLOCKED GUARD",
	Reviving: "REVIVING", Stale: "STALE", Left: "LEFT", Closed: "CLOSED",
}

// String is the state in the words of docs/protocol.md.
func (i Incumbent) String() string { return incumbentNames[i] }

var incumbentEventNames = [incumbentEvents]string{
	Begin: "a successor", Agreed: "all agree", AttemptFailed: "the attempt fails", Paused: "paused, saved", PauseFailed: "the pause fails",
	TokenTaken: "the token was there", TokenGone: "the token is gone", Fenced: "it is dead", Unkillable: "it cannot be killed",
	Revived: "the sections agree", Behind: "state is behind", Owned: "OWNED", OwnedUnread: "OWNED, the token is there", Confirm: "CONFIRM",
	Returned: "FAILED returned", Failed: "FAILED", SuccessorLeaves: "GOODBYE", ReleaseAsked: "RELEASE", Pong: "PONG", Drop: "DROP",
	Taken: "TAKEN", OtherFrame: "another frame", LinkEnd: "the end", Died: "death", DiedWished: "wished death", Timeout: "no time left",
	GuardOver: "the guard is over", BatchOverdue: "a batch is overdue", Close: "closed", CloseForHeir: "closed, for an heir",
}

// String is the event in the words of docs/protocol.md.
func (e IncumbentEvent) String() string { return incumbentEventNames[e] }
