package succession

// Successor is where a generation stands towards its predecessor.
type Successor uint8

// The states of the successor. Those of an heir are apart: it may take the token without COMMIT if the predecessor ends.
const (
	// First: there is no predecessor. The program prepares itself.
	First Successor = iota
	// Preparing: all offers are here. The program prepares itself.
	Preparing
	// PreparingHeir: as Preparing, for an heir.
	PreparingHeir
	// Inheriting: as PreparingHeir. The predecessor has ended, and the sockets are left to this generation.
	Inheriting
	// Proving: PREPARED is sent. The sections of the predecessor are being restored.
	Proving
	// ProvingHeir: as Proving, for an heir.
	ProvingHeir
	// Taking: the token is being read.
	Taking
	// TakingAlone: as Taking. The predecessor has ended.
	TakingAlone
	// Opening: this generation owns. It opens its sockets.
	Opening
	// OpeningAlone: as Opening. The predecessor has ended, or there was none.
	OpeningAlone
	// Trial: this generation serves. It has not confirmed.
	Trial
	// TrialSevered: as Trial. The link has ended and the predecessor lives: it may yet end this generation, and take the sockets.
	TrialSevered
	// TrialAlone: as Trial. The predecessor cannot take the sockets back.
	TrialAlone
	// Confirmed: this generation has confirmed. The predecessor can take the sockets back.
	Confirmed
	// Answered: as Confirmed. The predecessor was sent PONG or RELEASE, and may have given revival up, so nothing can be
	// handed back.
	Answered
	// Severed: as Confirmed. The link has ended and the predecessor lives: it may yet end this generation, and take the
	// sockets.
	Severed
	// Free: the predecessor cannot take the sockets back. It drains.
	Free
	// Alone: there is no predecessor any more.
	Alone
	// Leaving: this generation is being closed. It ends when what moves has arrived.
	Leaving
	// LeavingTrial: as Leaving. It has not confirmed.
	LeavingTrial
	// Returning: the sockets were handed back. The incumbent has not answered.
	Returning
	// Departing: the incumbent has the sockets again. Connections return to it, until the link ends.
	Departing
	// Draining: the sockets were handed back. Nothing returns, or nothing more.
	Draining
	// Gone: this generation does not own and never will.
	Gone

	successors
)

// SuccessorEvent is something that happens to the successor.
type SuccessorEvent uint8

// The events of the successor. The driver reports one at a time. Before it reports the end of the link or a death it has
// reported all that was queued before, and before it reports a deadline, the end and the death too. Before it reports Ready
// it has reported all that had come by then. None comes while an action that reports is under way, but for Stop and Drained in
// Departing, whose DepartBack takes long.
const (
	// Ready: the program is ready.
	Ready SuccessorEvent = iota
	// GiveUp: the program is not ready and never will be, a section cannot be restored, or this generation is being closed.
	GiveUp
	// ReadTaken: this side has read the 1, in one act. It owns.
	ReadTaken
	// ReadGone: the token was read, and held nothing; or it cannot be read.
	ReadGone
	// Opened: the sockets are open. There is no probation and no Check.
	Opened
	// OpenedOnTrial: the sockets are open. Probation begins.
	OpenedOnTrial
	// OpenFailed: a socket cannot be opened, or this generation is being closed. None is open.
	OpenFailed
	// Proved: probation is over, and Check has returned nil.
	Proved
	// Unfit: Check has failed, or the program has called Fail; and this generation may hand back (see MayHandBack).
	Unfit
	// AskRelease: this generation is about to commit to a successor of its own, and may not yet (see MayCommit).
	AskRelease
	// Stop: this generation is being closed.
	Stop
	// Drained: what this generation had accepted is served or has returned.
	Drained

	// Commit: COMMIT.
	Commit
	// Aborted: ABORT.
	Aborted
	// PredecessorLeaves: GOODBYE.
	PredecessorLeaves
	// Ping: PING.
	Ping
	// ReleasedSaid: RELEASED.
	ReleasedSaid
	// Conns: CONNS.
	Conns
	// Confirmation: CONFIRM, from an incumbent that has its sockets back.
	Confirmation
	// ReturnTaken: TAKEN, for a batch of CONNS that returned.
	ReturnTaken
	// UpgradeAsked: UPGRADE.
	UpgradeAsked
	// Bye: BYE.
	Bye
	// Unexpected: a frame that is well-formed and has no meaning in any of these states.
	Unexpected

	// Cut: the link has ended, or a frame was malformed, and the predecessor lives; or nothing can be sent to it. It is
	// reported once, and nothing that comes over the link after it. After HangUp only PredecessorDied is reported, in
	// TrialSevered and Severed.
	Cut
	// PredecessorDied: the predecessor is dead.
	PredecessorDied
	// TooLate: the patience of this state is over. Proving, ProvingHeir: 3 × StepTimeout, and 2 × stateWithin if there are
	// sections.
	TooLate

	successorEvents
)

// said are the events that a predecessor can cause in any state, by what it says.
var said = []SuccessorEvent{Commit, Aborted, PredecessorLeaves, Ping, ReleasedSaid, Conns, Confirmation, ReturnTaken, UpgradeAsked, Bye, Unexpected}

type successorRow = row[Successor, SuccessorEvent]

func when(events ...SuccessorEvent) []SuccessorEvent { return events }

// successorTable is the successor's side of the switch. What is not in it cannot be.
var successorTable = [successors][]successorRow{
	First: {
		{when(Ready), OpeningAlone, do(Open)},
		{when(GiveUp), Gone, nil},
	},
	Preparing: {
		{when(Ready), Proving, do(SendReceipts)},
		{when(GiveUp), Gone, do(SendFailed, HangUp)},
		{when(Aborted, PredecessorLeaves, Bye, Cut, PredecessorDied), Gone, do(HangUp)},
		{when(Commit, Ping, ReleasedSaid, Conns, Confirmation, ReturnTaken, UpgradeAsked, Unexpected), Gone, do(SendFailed, HangUp)},
	},
	PreparingHeir: {
		{when(Ready), ProvingHeir, do(SendReceipts)},
		{when(GiveUp), Gone, do(SendFailed, HangUp)},
		{when(PredecessorLeaves, PredecessorDied), Inheriting, nil},
		{when(Aborted, Bye, Cut), Gone, do(HangUp)},
		{when(Commit, Ping, ReleasedSaid, Conns, Confirmation, ReturnTaken, UpgradeAsked, Unexpected), Gone, do(SendFailed, HangUp)},
	},
	Inheriting: {
		{when(Ready), TakingAlone, do(ReadToken)},
		{when(GiveUp), Gone, do(HangUp)},
	},
	Proving: {
		{when(Commit), Taking, do(ReadToken)},
		{when(GiveUp, TooLate), Gone, do(SendFailed, HangUp)},
		{when(Aborted, PredecessorLeaves, Bye, Cut, PredecessorDied), Gone, do(HangUp)},
		{when(Ping, ReleasedSaid, Conns, Confirmation, ReturnTaken, UpgradeAsked, Unexpected), Gone, do(SendFailed, HangUp)},
	},
	ProvingHeir: {
		{when(Commit), Taking, do(ReadToken)},
		{when(PredecessorLeaves, PredecessorDied), TakingAlone, do(ReadToken)},
		{when(GiveUp, TooLate), Gone, do(SendFailed, HangUp)},
		{when(Aborted, Bye, Cut), Gone, do(HangUp)},
		{when(Ping, ReleasedSaid, Conns, Confirmation, ReturnTaken, UpgradeAsked, Unexpected), Gone, do(SendFailed, HangUp)},
	},
	Taking: {
		{when(ReadTaken), Opening, do(Open)},
		{when(ReadGone), Gone, do(HangUp)}, // the incumbent was quicker
	},
	TakingAlone: {
		{when(ReadTaken), OpeningAlone, do(Open)},
		{when(ReadGone), Gone, do(HangUp)},
	},
	Opening: {
		{when(Opened), Confirmed, do(SendOwned, BeginServing, SendConfirm, Announce)},
		{when(OpenedOnTrial), Trial, do(SendOwned, BeginServing)},
		{when(OpenFailed), Gone, do(PutBack, HangUp)},
	},
	OpeningAlone: {
		{when(Opened), Alone, do(BeginServing, Announce, Settle, HangUp)},
		{when(OpenedOnTrial), TrialAlone, do(BeginServing, Settle, HangUp)},
		{when(OpenFailed), Gone, do(HangUp)},
	},
	Trial: {
		{when(Proved), Confirmed, do(SendConfirm, Announce)},
		{when(Unfit), Returning, do(HandBack)},
		{when(Stop), LeavingTrial, do(SendGoodbye)},
		{when(ReleasedSaid, Bye, PredecessorLeaves, PredecessorDied), TrialAlone, do(Settle, HangUp)},
		{when(Cut), TrialSevered, do(HangUp)},
		{when(Commit, Aborted, Ping, Conns, Confirmation, ReturnTaken, UpgradeAsked, Unexpected), Trial, nil},
	},
	TrialSevered: {
		{when(Proved), Severed, do(Announce)},
		{when(PredecessorDied), TrialAlone, do(Settle)},
		{when(Stop), LeavingTrial, nil},
	},
	TrialAlone: {
		{when(Proved), Alone, do(Announce)},
		{when(Stop), LeavingTrial, nil},
	},
	Confirmed: {
		{when(Ping), Answered, do(SendPong)},
		{when(AskRelease), Answered, do(SendRelease)},
		{when(ReleasedSaid), Free, do(Settle)},
		{when(Unfit), Returning, do(HandBack)},
		{when(Stop), Leaving, do(SendGoodbye)},
		{when(Conns), Confirmed, do(ReceiveConns)},
		{when(UpgradeAsked), Confirmed, do(StartUpgrade)},
		{when(Bye, PredecessorLeaves, PredecessorDied), Alone, do(Settle, HangUp)},
		{when(Cut), Severed, do(HangUp)},
		{when(Commit, Aborted, Confirmation, ReturnTaken, Unexpected), Confirmed, nil},
	},
	Answered: {
		{when(Ping), Answered, do(SendPong)},
		{when(AskRelease), Answered, do(SendRelease)}, // once more, if the last attempt failed before the answer
		{when(ReleasedSaid), Free, do(Settle)},
		{when(Stop), Leaving, do(SendGoodbye)},
		{when(Conns), Answered, do(ReceiveConns)},
		{when(UpgradeAsked), Answered, do(StartUpgrade)},
		{when(Bye, PredecessorLeaves, PredecessorDied), Alone, do(Settle, HangUp)},
		{when(Cut), Severed, do(HangUp)},
		{when(Commit, Aborted, Confirmation, ReturnTaken, Unexpected), Answered, nil},
	},
	Severed: {
		{when(PredecessorDied), Alone, do(Settle)},
		{when(AskRelease), Severed, nil}, // it cannot be asked
		{when(Stop), Leaving, nil},
	},
	Free: {
		{when(Ping), Free, do(SendPong)},
		{when(Stop), Leaving, do(SendGoodbye)},
		{when(Conns), Free, do(ReceiveConns)},
		{when(UpgradeAsked), Free, do(StartUpgrade)},
		{when(Bye, PredecessorLeaves, Cut, PredecessorDied), Alone, do(HangUp)},
		{when(Commit, Aborted, ReleasedSaid, Confirmation, ReturnTaken, Unexpected), Free, nil},
	},
	Alone: {
		{when(Stop), Leaving, nil},
	},
	Leaving: {
		{when(Drained), Gone, do(HangUp)},
		{when(Conns), Leaving, do(ReceiveConns)},
		{when(Bye, PredecessorLeaves, Cut, PredecessorDied), Leaving, do(HangUp)},
		{when(Commit, Aborted, Ping, ReleasedSaid, Confirmation, ReturnTaken, UpgradeAsked, Unexpected), Leaving, nil},
	},
	LeavingTrial: {
		{when(Drained), Gone, do(HangUp)},
		{when(Bye, PredecessorLeaves, Cut, PredecessorDied), LeavingTrial, do(HangUp)},
		{when(Commit, Aborted, Ping, ReleasedSaid, Conns, Confirmation, ReturnTaken, UpgradeAsked, Unexpected), LeavingTrial, nil},
	},
	Returning: {
		{when(Confirmation), Departing, do(DepartBack)},
		{when(Aborted, PredecessorLeaves, Bye, Cut, PredecessorDied), Draining, do(HangUp)},
		{when(Drained), Gone, do(HangUp)},
		{when(Stop), Returning, nil}, // it ends when it is drained, closed or not
		{when(Commit, Ping, ReleasedSaid, Conns, ReturnTaken, UpgradeAsked, Unexpected), Returning, nil},
	},
	Departing: {
		{when(Cut), Draining, do(HangUp)},
		{when(Drained), Gone, do(HangUp)},
		{when(Stop), Departing, nil},
	},
	Draining: {
		{when(Drained), Gone, nil},
		{when(Stop), Draining, nil},
	},
	Gone: {{every[SuccessorEvent](successorEvents), Gone, nil}}, // the driver may not know yet
}

// Step decides. It reports false if e cannot be in state s: the driver has broken a promise.
func (s Successor) Step(e SuccessorEvent) (Successor, []Action, bool) {
	r, ok := find(successorTable[s], e)
	if !ok {
		return s, nil, false
	}
	return r.to, r.do, true
}

// HandedBack reports whether the sockets went back to the predecessor, and this generation is not over.
func (s Successor) HandedBack() bool { return s == Returning || s == Departing || s == Draining }

var successorPhases = [successors]Phase{
	First: PhaseStarting, Preparing: PhaseStarting, PreparingHeir: PhaseStarting, Inheriting: PhaseStarting, Proving: PhaseStarting,
	ProvingHeir: PhaseStarting, Taking: PhaseStarting, TakingAlone: PhaseStarting, Opening: PhaseStarting, OpeningAlone: PhaseStarting,
	Trial: PhaseProbation, TrialSevered: PhaseProbation, TrialAlone: PhaseProbation, LeavingTrial: PhaseProbation,
	Confirmed: PhaseServing, Answered: PhaseServing, Severed: PhaseServing,
	Free: PhaseServing, Alone: PhaseServing, Leaving: PhaseServing, Returning: PhaseDraining, Departing: PhaseDraining, Draining: PhaseDraining, Gone: PhaseStopped,
}

var successorNames = [successors]string{
	First: "FIRST", Preparing: "PREPARING", PreparingHeir: "PREPARING HEIR", Inheriting: "INHERITING", Proving: "PROVING",
	ProvingHeir: "PROVING HEIR", Taking: "TAKING", TakingAlone: "TAKING ALONE", Opening: "OPENING", OpeningAlone: "OPENING ALONE",
	Trial: "TRIAL", TrialSevered: "TRIAL SEVERED", TrialAlone: "TRIAL ALONE", Confirmed: "CONFIRMED", Answered: "ANSWERED", Severed: "SEVERED", Free: "FREE",
	Alone: "ALONE", Leaving: "LEAVING", LeavingTrial: "LEAVING TRIAL", Returning: "RETURNING", Departing: "DEPARTING", Draining: "DRAINING", Gone: "GONE",
}

// String is the state in the words of docs/protocol.md.
func (s Successor) String() string { return successorNames[s] }

var successorEventNames = [successorEvents]string{
	Ready: "the program is ready", GiveUp: "the program gives up", ReadTaken: "the token was there", ReadGone: "the token is gone",
	Opened: "open", OpenedOnTrial: "open, on probation", OpenFailed: "a socket does not open", Proved: "it is well", Unfit: "it is not well", AskRelease: "a successor is to be committed to",
	Stop: "closed", Drained: "drained", Commit: "COMMIT", Aborted: "ABORT", PredecessorLeaves: "GOODBYE", Ping: "PING", ReleasedSaid: "RELEASED",
	Conns: "CONNS", Confirmation: "CONFIRM", ReturnTaken: "TAKEN", UpgradeAsked: "UPGRADE", Bye: "BYE", Unexpected: "another frame", Cut: "the end",
	PredecessorDied: "death", TooLate: "no time left",
}

// String is the event in the words of docs/protocol.md.
func (e SuccessorEvent) String() string { return successorEventNames[e] }
