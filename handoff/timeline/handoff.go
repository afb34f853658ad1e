package timeline

import "time"

// Handoff is the record of one handoff, or of one attempt, joined from what both processes know of it. It says nothing
// secret: neither state, nor keys, nor what clients send. But Error and Output are texts of the program.
type Handoff struct {
	Version int    `json:"version"` // [Version]
	ID      string `json:"id"`      // of this handoff: 16 hexadecimal digits
	Cause   Cause  `json:"cause"`
	// From is the incumbent, To the successor. The number of a successor that did not come to own may be given again.
	From Process `json:"from"`
	To   Process `json:"to"`

	Transport Transport `json:"transport,omitempty"` // "": nothing was offered

	// Started is when it began, by the wall clock of the incumbent. Duration is from there until the result was known, or
	// until now while it runs.
	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"duration"`
	// Stages are those that have begun, in the order of [Stages]. Offsets and durations are by CLOCK_MONOTONIC, which both
	// processes share; where they are in different time namespaces (time_namespaces(7)), and it is not shared, the wall clock says how the two halves lie to each other.
	Stages []Span `json:"stages"`

	Sockets  []Sockets `json:"sockets,omitempty"`     // that were offered, by kind
	Refused  []Refusal `json:"refused,omitempty"`     // resources that did not go over, and why
	Sections []Section `json:"sections,omitempty"`    // of state that moved
	Conns    []Conns   `json:"connections,omitempty"` // live connections, by kind

	Result Result `json:"result"`
	Reason Reason `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"` // more than Reason says

	// Exit is how a successor ended that failed, if it is known. Output is what it printed last, if the incumbent had started it.
	Exit   *Exit  `json:"exit,omitempty"`
	Output string `json:"output,omitempty"`

	// Halves says which of the two processes have told of it. A successor of another release, or one that died before its
	// program was ready, has not.
	Halves []Role `json:"halves"`

	// Role is what the process that was asked is in it; "": it has no part, and knows of it from another. JSON does not have it.
	Role Role `json:"-"`
}

// Process is one side of a handoff.
type Process struct {
	Generation int    `json:"generation"`        // 0: not known
	PID        int    `json:"pid"`               // as the incumbent sees it; 0: not known
	Program    string `json:"program,omitempty"` // as it calls itself
}

// Span is one stage.
type Span struct {
	Stage    Stage         `json:"stage"`
	Start    time.Duration `json:"start"`             // from the start of the handoff
	Duration time.Duration `json:"duration"`          // so far, while it runs
	Running  bool          `json:"running,omitempty"` // it has begun, and its end is not known
}

// Sockets counts resources of one kind.
type Sockets struct {
	Kind      Kind      `json:"kind"`
	Transport Transport `json:"transport,omitempty"`
	Offered   int       `json:"offered"`
	Moved     int       `json:"moved"` // those that the successor asked for, and has
}

// Refusal is a resource that did not go over.
type Refusal struct {
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"`
	Reason Reason `json:"reason"`
}

// Section is one section of state that moved, or did not.
type Section struct {
	Name    string        `json:"name"`
	Ahead   bool          `json:"ahead,omitempty"` // while the incumbent served
	Bytes   int64         `json:"bytes"`
	Save    time.Duration `json:"save"`    // what it took the incumbent; 0: not known
	Restore time.Duration `json:"restore"` // what it took the successor; 0: not known
	Error   string        `json:"error,omitempty"`
}

// Conns counts live connections of one kind.
type Conns struct {
	Kind    ConnKind `json:"kind"`
	Moved   int      `json:"moved"`
	Kept    int      `json:"kept"`    // that were to move, and stayed
	Refused int      `json:"refused"` // of those, because the successor did not take them
}

// Exit is how a process ended.
type Exit struct {
	Status int    `json:"status"`           // its exit status; -1: a signal ended it, or it is not known
	Signal string `json:"signal,omitempty"` // the signal's name, such as "killed"
}

// Stage returns the span of s.
func (h *Handoff) Stage(s Stage) (Span, bool) {
	for _, p := range h.Stages {
		if p.Stage == s {
			return p, true
		}
	}
	return Span{}, false
}
