package handoff

import "github.com/segue-go/segue/handoff/timeline"

// Phase is where a generation stands in its life.
type Phase = timeline.Phase

// The phases, in the order of a life. A successor that fails before it owns goes from starting to stopped; an incumbent
// whose attempt to hand over fails goes back to serving.
const (
	PhaseStarting  = timeline.PhaseStarting  // joined, Ready not yet called or not yet done
	PhaseProbation = timeline.PhaseProbation // owns the sockets and serves; not yet confirmed
	PhaseServing   = timeline.PhaseServing   // owns the sockets
	PhaseOffering  = timeline.PhaseOffering  // owns the sockets; a successor prepares itself
	PhaseSwitching = timeline.PhaseSwitching // accept is paused; the successor may take the token
	PhaseGuarding  = timeline.PhaseGuarding  // somebody else owns: a successor that has not confirmed, or an heir; or the sockets are being taken back
	PhaseDraining  = timeline.PhaseDraining  // superseded; can be revived until its guard ends. Or it has handed the sockets back
	PhaseStopped   = timeline.PhaseStopped   // owns nothing and never will
)

// Status is a snapshot of a generation. In JSON it has its fields by name, and LastError as a text.
type Status struct {
	Generation  int // counts from 1
	PID         int
	Phase       Phase
	Predecessor int // process id of the generation before, while it lives; else 0
	Successor   int // process id of the one that takes over or has; else 0
	Sockets     []SocketStatus
	Arrived     int   // live connections that came from the predecessor, or by way of it, or back from a successor, so far
	Moved       int   // live connections that have gone to the successor, or back to the predecessor, so far
	LastError   error // why the last attempt to hand over, or Check, failed; nil if none did
}

// SocketStatus describes one resource of a generation.
type SocketStatus struct {
	Name      string // the name under which it is handed over
	Kind      string // listener, packet or file
	Network   string // as asked for
	Address   string // as bound, so with the port that the kernel chose
	Inherited bool   // came from the predecessor
}

func (g *Generation) currentPhase() Phase { return Phase(g.driver.Phase().String()) }
