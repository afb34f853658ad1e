package timeline

import "time"

// Generation is what one generation does now.
type Generation struct {
	Generation int       `json:"generation"`
	PID        int       `json:"pid"` // as it numbers itself
	Phase      Phase     `json:"phase"`
	Since      time.Time `json:"since"` // the phase began
	Started    time.Time `json:"started"`

	Predecessor int `json:"predecessor,omitempty"` // process id; 0: none
	Successor   int `json:"successor,omitempty"`

	Conns   ConnsNow   `json:"connections"`
	Sockets []Resource `json:"sockets,omitempty"` // of the generation that was asked only
	Waits   []Wait     `json:"waits,omitempty"`   // on what it waits before it ends, if it drains
	Error   string     `json:"error,omitempty"`   // why the last attempt to hand over, or Check, failed

	// Updated is when it has said this: of an older generation, over its link.
	Updated time.Time `json:"updated"`
}

// ConnsNow counts connections by what they do. In Active and Idle are those of servers of package serve whose connections can move:
// HTTP/1 without TLS. Those of HTTPS, of HTTP/2, of GRPC and of Func are not counted, nor those that the program serves by itself.
type ConnsNow struct {
	Active  int `json:"active"`
	Idle    int `json:"idle"`
	Parked  int `json:"parked"`  // came from another generation, and their clients are silent since
	Untaken int `json:"untaken"` // given by another generation, and the program has not called Take
}

// Left is how many there are.
func (c ConnsNow) Left() int { return c.Active + c.Idle + c.Parked + c.Untaken }

// Resource is a socket or a file of a generation.
type Resource struct {
	Name      string `json:"name"`
	Kind      Kind   `json:"kind"`
	Network   string `json:"network"`
	Address   string `json:"address"` // as bound
	Inherited bool   `json:"inherited"`
}

// WaitFor is on what a generation waits.
type WaitFor string

// What a generation that drains waits for.
const (
	WaitDrain       WaitFor = "drain"       // the program's drain function: answers that are not finished
	WaitConnections WaitFor = "connections" // connections that are on their way, or parked
	WaitGuard       WaitFor = "guard"       // its guard: the successor may still fail
	WaitPredecessor WaitFor = "predecessor" // the generation before it drains
)

// Wait is one thing on which a generation waits.
type Wait struct {
	For   WaitFor   `json:"for"`
	Count int       `json:"count,omitempty"` // of connections, where they are counted
	Until time.Time `json:"until,omitzero"`  // when it ends at the latest; zero: no bound
}

// Chain is a snapshot of all generations that live: the one that was asked, and the older ones that still drain, as far as they
// have told it, newest first.
type Chain struct {
	Version     int          `json:"version"` // [Version]
	Generations []Generation `json:"generations"`
	Last        *Handoff     `json:"last,omitempty"` // the last handoff
}
