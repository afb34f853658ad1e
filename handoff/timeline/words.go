package timeline

// Phase is where a generation stands in its life.
type Phase string

// The phases, in the order of a life. A successor that fails before it owns goes from starting to stopped; an incumbent
// whose attempt to hand over fails goes back to serving.
const (
	PhaseStarting  Phase = "starting"  // joined, Ready not yet called or not yet done
	PhaseProbation Phase = "probation" // owns the sockets and serves; not yet confirmed
	PhaseServing   Phase = "serving"   // owns the sockets
	PhaseOffering  Phase = "offering"  // owns the sockets; a successor prepares itself
	PhaseSwitching Phase = "switching" // accept is paused; the successor may take the token
	PhaseGuarding  Phase = "guarding"  // somebody else owns: a successor that has not confirmed, or an heir; or the sockets are being taken back
	PhaseDraining  Phase = "draining"  // superseded; can be revived until its guard ends. Or it has handed the sockets back
	PhaseStopped   Phase = "stopped"   // owns nothing and never will
)

// Owns reports whether a generation in this phase owns the sockets.
func (p Phase) Owns() bool { return p == PhaseProbation || p == PhaseServing || p == PhaseOffering }

// Role is what a process is in a handoff.
type Role string

// The roles.
const (
	Incumbent Role = "incumbent" // it hands over
	Successor Role = "successor" // it takes over
)

// Cause is how a handoff was begun.
type Cause string

// The causes.
const (
	CauseUpgrade Cause = "upgrade" // the incumbent started its successor: Upgrade, a signal, or the control socket
	CauseCaller  Cause = "caller"  // somebody else started the successor, which called at the rendezvous
	CauseForeign Cause = "foreign" // UpgradeTo: the successor does not speak the protocol
	CauseRescue  Cause = "rescue"  // the incumbent did not answer, and was replaced without its help
)

// Transport is how descriptors came to the successor.
type Transport string

// The transports.
const (
	TransportSent  Transport = "sent"  // SCM_RIGHTS
	TransportTaken Transport = "taken" // pidfd_getfd
)

// Stage is a part of a handoff. Stages follow each other, but for state, which is within prepare, and connections, guard and
// drain, which begin together.
type Stage string

// The stages, in their order.
const (
	StageSpawn       Stage = "spawn"       // starting the process: fork and exec
	StageHello       Stage = "hello"       // from there, or from the call at the rendezvous, until it has said HELLO and was accepted
	StageOffer       Stage = "offer"       // sending it what there is
	StageWarmup      Stage = "warmup"      // of the program: from the last offer until it called Ready
	StagePrepare     Stage = "prepare"     // what is left to do before the switch: receipts, what is held, the older generation released
	StageState       Stage = "state"       // sections that are sent ahead
	StageGap         Stage = "gap"         // nobody accepts: from the pause until the successor's sockets are open
	StageProbation   Stage = "probation"   // from there until it confirmed
	StageConnections Stage = "connections" // live connections move
	StageGuard       Stage = "guard"       // the incumbent can still be revived
	StageDrain       Stage = "drain"       // the incumbent answers what it has accepted, until it ends
)

// Stages returns all stages in their order.
func Stages() []Stage {
	return []Stage{StageSpawn, StageHello, StageOffer, StageWarmup, StagePrepare, StageState, StageGap, StageProbation,
		StageConnections, StageGuard, StageDrain}
}

// Result is what became of a handoff.
type Result string

// The results. Of all but done, orphaned, stale and left the incumbent serves on, or again.
const (
	Running    Result = "running"    // it is under way
	Done       Result = "done"       // the successor has confirmed. It may still be revived from then on
	Failed     Result = "failed"     // the successor failed before it owned
	Aborted    Result = "aborted"    // the incumbent did not want it any more, before the successor owned
	RolledBack Result = "rolledback" // the successor had owned, or may have, and did not confirm: the incumbent serves again
	Revived    Result = "revived"    // the same, after it had confirmed
	Stale      Result = "stale"      // as those, but the incumbent must not serve with the state that it has: nobody serves
	Orphaned   Result = "orphaned"   // the successor ended when the incumbent could not serve again: nobody serves
	Left       Result = "left"       // the incumbent was closed before the switch, and has left the sockets to the successor
)

// Results returns all results but running.
func Results() []Result {
	return []Result{Done, Failed, Aborted, RolledBack, Revived, Stale, Orphaned, Left}
}

// Reason is why a handoff did not end as done, or why something was refused. The words are few, so that one may count by
// them; the text beside it says more.
type Reason string

// The reasons.
const (
	ReasonNone         Reason = ""             // there is none: it is done, or under way
	ReasonStart        Reason = "start"        // the successor could not be started
	ReasonDied         Reason = "died"         // the successor ended
	ReasonGaveUp       Reason = "gave_up"      // the successor said that it fails, or was closed
	ReasonCheck        Reason = "check"        // the successor gave the sockets back: its Check failed, or its program called Fail
	ReasonWished       Reason = "wished"       // somebody ended the successor
	ReasonTimeout      Reason = "timeout"      // something took too long
	ReasonUnresponsive Reason = "unresponsive" // the successor owned, or may have, and did not answer
	ReasonProtocol     Reason = "protocol"     // one said what it must not, or hung up
	ReasonVersion      Reason = "version"      // no version of the protocol in common
	ReasonUnauthorized Reason = "unauthorized" // one does not accept the other
	ReasonTransport    Reason = "transport"    // no way in common to move descriptors
	ReasonDescriptors  Reason = "descriptors"  // there were none left
	ReasonState        Reason = "state"        // a section did not move
	ReasonChanged      Reason = "changed"      // sockets were opened or closed meanwhile
	ReasonBusy         Reason = "busy"         // another handoff is under way, or one side does not own
	ReasonDisplaced    Reason = "displaced"    // another successor came, and this one did not answer
	ReasonCanceled     Reason = "canceled"     // the context of Upgrade ended
	ReasonClosed       Reason = "closed"       // the incumbent was closed
	ReasonUnsupported  Reason = "unsupported"  // this process never hands over
	ReasonUnclaimed    Reason = "unclaimed"    // of a resource: the successor did not ask for it
	ReasonRoom         Reason = "room"         // of connections: the successor has no descriptors for them, or no server
	ReasonOther        Reason = "other"        // the text says why
)

// Reasons returns all reasons but none.
func Reasons() []Reason {
	return []Reason{ReasonStart, ReasonDied, ReasonGaveUp, ReasonCheck, ReasonWished, ReasonTimeout, ReasonUnresponsive,
		ReasonProtocol, ReasonVersion, ReasonUnauthorized, ReasonTransport, ReasonDescriptors, ReasonState, ReasonChanged, ReasonBusy,
		ReasonDisplaced, ReasonCanceled, ReasonClosed, ReasonUnsupported, ReasonUnclaimed, ReasonRoom, ReasonOther}
}

// Kind is what a resource is.
type Kind string

// The kinds.
const (
	Listener Kind = "listener" // a stream or seqpacket socket that accepts
	Packet   Kind = "packet"   // a datagram socket
	File     Kind = "file"     // anything else
)

// ConnKind is what has tracked connections that move.
type ConnKind string

// The kinds of connections.
const (
	ConnServed ConnKind = "served" // those of a server of package serve
	ConnGiven  ConnKind = "given"  // those that the program gave
)

// ConnState is what a connection does.
type ConnState string

// The states of connections.
const (
	ConnActive   ConnState = "active"   // something that was asked is being answered
	ConnIdle     ConnState = "idle"     // its client is silent
	ConnParked   ConnState = "parked"   // it came from another generation, and its client is silent since
	ConnDraining ConnState = "draining" // it is left in a generation that was superseded
)

// ConnStates returns all states.
func ConnStates() []ConnState { return []ConnState{ConnActive, ConnIdle, ConnParked, ConnDraining} }
