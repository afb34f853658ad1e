package timeline

import "time"

// Trace is a set of functions that observe a generation, in the manner of httptrace.ClientTrace. Each may be nil. They are
// called synchronously, from several goroutines: what they take delays the handover, and they must not call the Generation's
// methods. They may keep what they get.
type Trace struct {
	// Phase is called after each change of phase.
	Phase func(PhaseChange)
	// Begun is called when a handoff begins: by the incumbent when it starts a successor, or when one that called has been
	// accepted; by the successor when it has been welcomed.
	Begun func(Begun)
	// Sent and Received are called after a message of the protocol has been sent, and before one that arrived is acted on.
	Sent, Received func(Message)
	// Stage is called when a stage has ended that this process measures.
	Stage func(StageEnded)
	// Resource is called for each socket and file of an offer, on both sides.
	Resource func(ResourceMoved)
	// Section is called when a section of state was saved, or restored, or when that has failed.
	Section func(SectionMoved)
	// Conns is called for each batch of live connections that has moved, or was refused.
	Conns func(ConnsMoved)
	// Gap is called when nobody accepts any more (the incumbent), and when somebody does again.
	Gap func(GapChanged)
	// Milestone is called when the switch has come further.
	Milestone func(Reached)
	// Drain is called when a drain begins, ends, and while it goes on, as often as what is left changes, but no more than once a second.
	Drain func(DrainProgress)
	// Undone is called when the incumbent serves again after its successor had owned, or may have.
	Undone func(Undone)
	// Ended is called by each side when it knows what became of a handoff, with what is known then; Stages that follow the
	// confirmation are running. It is called again if a handoff that was done is undone.
	Ended func(HandoffEnded)
}

// Event is what all events have.
type Event struct {
	Time       time.Time
	Generation int    // of this process
	PID        int    // likewise
	Role       Role   // of this process in the handoff; "" outside of one
	Handoff    string // Handoff.ID; "" outside of one, and where the incumbent is of an older release
	Peer       int    // process id of the other side; 0: not known
}

// PhaseChange is a change of phase. It is outside of handoffs.
type PhaseChange struct {
	Event
	From, To Phase
}

// Begun is the beginning of a handoff.
type Begun struct {
	Event
	Cause   Cause
	Program string // of the other side; "": not known yet
}

// Message is one message of the protocol.
type Message struct {
	Event
	Type        MessageType
	Descriptors int // that came with it
}

// MessageType is a message's name in docs/protocol.md, such as "commit".
type MessageType string

// StageEnded is the end of a stage.
type StageEnded struct {
	Event
	Span
}

// ResourceFate is what became of a resource.
type ResourceFate string

// What becomes of a resource.
const (
	Offered  ResourceFate = "offered"  // sent to the successor, which has it (incumbent)
	Arrived  ResourceFate = "arrived"  // received (successor)
	Claimed  ResourceFate = "claimed"  // the successor's program asked for it (both)
	Declined ResourceFate = "declined" // the successor's program did not (both)
)

// ResourceMoved is what became of one resource.
type ResourceMoved struct {
	Event
	Name             string
	Kind             Kind
	Network, Address string // as asked for
	Fate             ResourceFate
	Transport        Transport
	Reason           Reason // why it was declined
}

// SectionMoved is what became of one section of state.
type SectionMoved struct {
	Event
	Section  string
	Restored bool // otherwise saved
	Ahead    bool // while the incumbent serves
	Bytes    int64
	Duration time.Duration
	Err      error
}

// ConnsMoved is one batch of connections.
type ConnsMoved struct {
	Event
	Kind      ConnKind
	Count     int
	Transport Transport
	Refused   bool // they stay
	Received  bool // they came; otherwise they went
	Reason    Reason
}

// GapChanged is the beginning or the end of the gap in which nobody accepts.
type GapChanged struct {
	Event
	Open bool // somebody accepts (again)
	// Duration is how long nobody did: of the incumbent that serves again; of the successor, where the incumbent had said when
	// it paused, 0 otherwise: the record has it then.
	Duration time.Duration
}

// Milestone is a point of the switch.
type Milestone string

// The milestones.
const (
	Prepared  Milestone = "prepared"  // the program of the successor is ready, and has what was offered
	Committed Milestone = "committed" // the successor may take the token
	Owned     Milestone = "owned"     // the successor has the token, and accepts
	Confirmed Milestone = "confirmed" // the successor is well
	Released  Milestone = "released"  // the incumbent cannot be revived any more
)

// Reached is a milestone that was reached.
type Reached struct {
	Event
	Milestone Milestone
}

// DrainProgress is how far a drain is.
type DrainProgress struct {
	Event
	Conns ConnsNow
	Waits []Wait
	Ended bool
}

// Undone says that the incumbent serves again, or has to end.
type Undone struct {
	Event
	Result Result // RolledBack, Revived or Stale
	Reason Reason
	Err    error
}

// HandoffEnded is what became of a handoff.
type HandoffEnded struct {
	Event
	Record Handoff // this side's half, or both
	Err    error   // nil: done
}
