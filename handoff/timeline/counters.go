package timeline

import "time"

// Counters are totals of a chain, since its first generation. They travel with the sockets, so they go on at an upgrade. What they
// do when a handoff does not end well is a table at handoff.Generation.Counters.
//
// Entries that were never counted are not there; the order is that of the words.
type Counters struct {
	Version int `json:"version"` // [Version]
	// Since is when they began at 0.
	Since time.Time `json:"since"`

	Handoffs []HandoffCount `json:"handoffs"`
	Stages   []StageCount   `json:"stages"`
	Sockets  []SocketCount  `json:"sockets"`
	Conns    []ConnCount    `json:"connections"`
	// Undone counts rollbacks and revivals.
	Undone []UndoneCount `json:"undone"`
	// LastSuccess is when a successor last confirmed; zero: never.
	LastSuccess time.Time `json:"lastSuccess"`
}

// HandoffCount counts handoffs. Each is counted once as Incumbent, with what became of it, and once as Successor, if a
// successor was accepted: then with what became of that, which is the same but where it had confirmed and died later.
type HandoffCount struct {
	Role   Role   `json:"role"`
	Result Result `json:"result"`
	Reason Reason `json:"reason"`
	Count  uint64 `json:"count"`
}

// StageCount is a histogram of the durations of a stage.
type StageCount struct {
	Stage Stage         `json:"stage"`
	Count uint64        `json:"count"`
	Sum   time.Duration `json:"sum"`
	// Buckets has, for each of [Buckets], how many took that long at most. It is cumulative, as Prometheus has it.
	Buckets []uint64 `json:"buckets"`
}

// SocketCount counts sockets that moved.
type SocketCount struct {
	Kind      Kind      `json:"kind"`
	Transport Transport `json:"transport"`
	Count     uint64    `json:"count"`
}

// ConnCount counts connections that moved.
type ConnCount struct {
	Kind      ConnKind  `json:"kind"`
	Transport Transport `json:"transport"` // always sent (SCM_RIGHTS), so far
	Count     uint64    `json:"count"`
}

// UndoneCount counts one of RolledBack and Revived.
type UndoneCount struct {
	Result Result `json:"result"`
	Reason Reason `json:"reason"`
	Count  uint64 `json:"count"`
}

// Buckets are the upper bounds of the buckets of each [StageCount]. They do not change, since totals of several releases are added.
func Buckets() []time.Duration {
	return []time.Duration{
		100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
		time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
		10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
		100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
		time.Second, 2500 * time.Millisecond, 5 * time.Second,
		10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, time.Hour,
	}
}
