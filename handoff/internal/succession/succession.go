// Package succession decides who owns the sockets: what each of two generations does next, from COMMIT on, and what must be
// known before. It is two tables, [Incumbent.Step] and [Successor.Step], that map a state and an event to the next state
// and to actions.
//
// It is pure: no input or output, no clock, no goroutine, no lock. Time is an event. Package driver drives it: it turns
// frames, deaths, deadlines and calls of the program into events, and carries the actions out. What the driver must
// guarantee before it reports an event is written at the event.
//
// docs/protocol.md, section 7, has the same tables; a test compares them. Another test explores every state that two or
// three generations can come to.
package succession

// row is a decision: on one of these events, do the actions in their order, and go to a state.
type row[S ~uint8, E ~uint8] struct {
	on []E
	to S
	do []Action
}

// find returns the row of rows that decides e.
func find[S, E ~uint8](rows []row[S, E], e E) (row[S, E], bool) {
	for _, r := range rows {
		for _, on := range r.on {
			if on == e {
				return r, true
			}
		}
	}
	return row[S, E]{}, false
}

// every returns all events below n.
func every[E ~uint8](n E) []E {
	all := make([]E, n)
	for i := range all {
		all[i] = E(i)
	}
	return all
}

// Action is something that the driver does. An action that reports is the last of its row: the driver carries it out at
// once, and the next event is its report.
type Action uint8

// The actions of both sides.
const (
	// ReadToken reads the token, without waiting. It reports TokenTaken or TokenGone.
	ReadToken Action = iota
	// Dismiss ends what there was with a successor that does not own: it is told ABORT. One that lives has to close its copies and
	// to hang up, or it is killed.
	Dismiss
	// DismissOwner is Dismiss for a successor that has owned, or may have. If it has handed back, and both sides know how, its
	// connections return: it is told CONFIRM instead.
	DismissOwner

	// Pause stops accepting what the successor asked for, and saves the sections of the gap. It reports Paused or PauseFailed.
	Pause
	// SendCommit says COMMIT. It reports LinkEnd if that cannot be sent.
	SendCommit
	// LeaveToHeir stops accepting, and says GOODBYE to the heir.
	LeaveToHeir
	// Park takes the sockets that the successor owns out of the poller.
	Park
	// KeepDrop keeps a DROP until it is known who owns.
	KeepDrop
	// ApplyDrops closes the copies that the kept DROPs name.
	ApplyDrops
	// ApplyDrop closes the copy that the DROP names.
	ApplyDrop
	// Supersede starts the drain: connections move, what nobody asked for is closed, the guard begins.
	Supersede
	// SupersedeUnconfirmed starts the drain of a generation whose successor was ended on purpose before it confirmed.
	SupersedeUnconfirmed
	// SendPing says PING.
	SendPing
	// Excuse gives the oldest batch of connections in flight another StepTimeout.
	Excuse
	// Release gives revival up: it closes the copies of the listeners and says RELEASED.
	Release
	// SendReleased says RELEASED once more.
	SendReleased
	// Fence kills the successor and waits until it is dead. It reports Fenced or Unkillable.
	Fence
	// ReportBlocked tells the operator that the successor owns, does not answer and cannot be killed.
	ReportBlocked
	// Revive does what the sections say of a revival. It reports Revived or Behind.
	Revive
	// Reopen opens the sockets again.
	Reopen
	// EndStale ends this generation, whose state is behind, and the moving of its connections.
	EndStale
	// CountTaken passes TAKEN on to the departure.
	CountTaken
	// WarnStuck tells the operator that the successor takes no connections, and gives it another StepTimeout.
	WarnStuck
	// ReportOrphaned tells the operator that nobody serves.
	ReportOrphaned
	// EndDeparture ends the moving of connections: there is nobody any more to answer.
	EndDeparture
	// SendBye says BYE: this generation ends, and never takes the sockets back.
	SendBye

	// SendReceipts says PREPARED, and restores the sections of the predecessor until COMMIT. It reports COMMIT, or what came
	// instead: another frame, an end, GiveUp or TooLate.
	SendReceipts
	// SendFailed says FAILED.
	SendFailed
	// Open opens the sockets. It reports Opened, OpenedOnTrial or OpenFailed.
	Open
	// SendOwned says OWNED.
	SendOwned
	// BeginServing does what follows from owning: it closes what nobody asked for, and opens the rendezvous.
	BeginServing
	// SendConfirm says CONFIRM.
	SendConfirm
	// Announce makes it known that this process serves: the PID file is its own from now on.
	Announce
	// SendPong says PONG.
	SendPong
	// SendRelease says RELEASE.
	SendRelease
	// SendGoodbye says GOODBYE.
	SendGoodbye
	// HandBack stops accepting, and then does one of these:
	//
	//	what only one process may have  connections can return  the token    it says            it reports
	//	is let go of                    yes                     is put back  FAILED, returned   nothing
	//	is let go of                    no                      is put back  FAILED, returned   Cut
	//	is not let go of                either                  stays        FAILED             Cut
	//
	// It also reports Cut if the token cannot be put back, or FAILED cannot be sent.
	HandBack
	// PutBack puts the token back and says FAILED with returned: nothing was ever open.
	PutBack
	// Settle tells the Sources that the sockets will not go back.
	Settle
	// ReceiveConns takes a batch of connections and answers TAKEN. It reports Cut if it cannot answer.
	ReceiveConns
	// DepartBack moves connections to the incumbent that has the sockets again. It reports Cut when the link has ended.
	DepartBack
	// StartUpgrade begins the upgrade that the predecessor was asked for.
	StartUpgrade
	// HangUp closes the link.
	HangUp

	actions
)

var actionNames = [actions]string{
	ReadToken: "read the token", Dismiss: "send ABORT", DismissOwner: "send ABORT, or CONFIRM to one that hands back", Pause: "pause, save", SendCommit: "send COMMIT", LeaveToHeir: "pause, send GOODBYE",
	Park: "park", KeepDrop: "keep the drop", ApplyDrops: "close what was dropped", ApplyDrop: "close that copy",
	Supersede: "drain", SupersedeUnconfirmed: "drain, unconfirmed", SendPing: "send PING", Excuse: "wait on for the batch", Release: "close the copies, send RELEASED",
	SendReleased: "send RELEASED", Fence: "kill", ReportBlocked: "report: cannot be killed", Revive: "ask the sections", Reopen: "open again",
	EndStale: "end: state is behind", CountTaken: "close those copies", WarnStuck: "warn",
	ReportOrphaned: "report: nobody serves", EndDeparture: "keep what was not taken", SendBye: "send BYE",
	SendReceipts: "send PREPARED", SendFailed: "send FAILED", Open: "open", SendOwned: "send OWNED", BeginServing: "begin to serve", SendConfirm: "send CONFIRM",
	Announce: "write the PID file", SendPong: "send PONG", SendRelease: "send RELEASE", SendGoodbye: "send GOODBYE", HandBack: "stop accepting; put back, send FAILED returned, or send FAILED",
	PutBack: "put back, send FAILED returned", Settle: "tell the sources", ReceiveConns: "take them, send TAKEN",
	DepartBack: "send CONNS", StartUpgrade: "start an upgrade", HangUp: "hang up",
}

// String is the action in the words of docs/protocol.md.
func (a Action) String() string { return actionNames[a] }

// Phase is where a generation stands, for those who look at it from outside.
type Phase uint8

// The phases.
const (
	PhaseStarting Phase = iota
	PhaseProbation
	PhaseServing
	PhaseOffering
	PhaseSwitching
	PhaseGuarding
	PhaseDraining
	PhaseStopped
	phases
)

var phaseNames = [phases]string{"starting", "probation", "serving", "offering", "switching", "guarding", "draining", "stopped"}

// String is the word of handoff.Phase.
func (p Phase) String() string { return phaseNames[p] }

// Owns reports whether a generation in this phase owns the sockets.
func (p Phase) Owns() bool {
	return p == PhaseProbation || p == PhaseServing || p == PhaseOffering
}

// PhaseOf is the phase of a generation, which is the successor of the one before it and the incumbent for the one after it.
func PhaseOf(s Successor, i Incumbent) Phase {
	p := successorPhases[s]
	if p == PhaseServing {
		return incumbentPhases[i]
	}
	return p
}

// MayCommit reports whether a generation may commit to a successor of its own: nobody before it can be revived. Otherwise
// there could be two that take the sockets back.
func MayCommit(s Successor) bool { return s == Free || s == Alone }

// MayHandBack reports whether a generation may give the sockets back to the one before it: that one can still take them, and
// no successor of its own may.
func MayHandBack(s Successor, i Incumbent) bool {
	return (s == Trial || s == Confirmed) && (i == Idle || i == Offering)
}

// Request is what becomes of a request for an upgrade, which a signal or the predecessor makes.
type Request uint8

// What becomes of it.
const (
	// RequestWaits: it is answered when the phase changes, or the attempt under way ends.
	RequestWaits Request = iota
	// RequestServed: this generation starts an upgrade.
	RequestServed
	// RequestPassedOn: another generation owns. It starts the upgrade: its program may have been read before the request was made.
	RequestPassedOn
	// RequestVoid: this generation is over.
	RequestVoid
)

// OnRequest decides what becomes of a request for an upgrade. It asks for the phase, since both sides matter: a generation on
// probation has itself to prove first, and while a successor switches nobody knows yet who owns. busy: an attempt is under way that
// may not be displaced. The request does not change who owns, so it is no event of the tables.
func OnRequest(p Phase, busy bool) Request {
	switch p {
	case PhaseServing, PhaseOffering:
		if busy {
			return RequestWaits
		}
		return RequestServed
	case PhaseDraining:
		return RequestPassedOn
	case PhaseStopped:
		return RequestVoid
	default:
		return RequestWaits
	}
}
