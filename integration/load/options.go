package load

import (
	"errors"
	"fmt"
	"time"
)

// Kind is a kind of traffic.
type Kind int

const (
	// New makes a connection for each request.
	New Kind = iota
	// Kept sends request after request on one connection, with a pause in between.
	Kept
	// Slow asks for an answer that takes its time. Every other worker keeps its connection.
	Slow
	// Upload sends a body that takes its time, with Content-Length and chunked in turn. Every other worker keeps its
	// connection.
	Upload
	// Idle connects at the start, sends one request then, another one rarely, and a last one at the end.
	Idle

	kinds // how many there are
)

// String returns the name of the kind as it is in the table.
func (k Kind) String() string {
	switch k {
	case New:
		return "new"
	case Kept:
		return "kept"
	case Slow:
		return "slow"
	case Upload:
		return "upload"
	case Idle:
		return "idle"
	case ChatUser:
		return "chat"
	}
	return fmt.Sprintf("kind %d", int(k))
}

// Options say what to send and where to. Only Address is needed, and a worker of some kind.
type Options struct {
	Network string // as net.Dial takes it; "" is tcp
	Address string

	// New, Kept, Slow and Upload are numbers of workers, each with at most one request in flight. Idle is a number of
	// connections.
	New, Kept, Slow, Upload, Idle int

	// Pace is what a worker of New or Kept waits between two requests, from half of it to one and a half; 0 is 5 ms.
	// It bounds the rate. Less than a millisecond is a millisecond: Kept looks meanwhile whether the server has closed
	// the connection, which is how a forced reconnect is told from a lost request.
	Pace time.Duration

	// Rest is about how long a connection of Idle is silent between two requests; 0 is a minute.
	Rest time.Duration

	// SlowFor is about how long the answer to a slow request takes; 0 is 650 ms. Each takes from half of it to one and
	// a half.
	SlowFor time.Duration

	// UploadFor is about how long sending a body takes, UploadSize its bytes; 0 is 1 s, and 64 KiB.
	UploadFor  time.Duration
	UploadSize int

	// Timeout bounds each request, connecting included, but not the time that a slow request or an upload is meant to
	// take; 0 is 10 s. A request that is not answered within it has failed.
	Timeout time.Duration

	// Seed determines what is random: pauses, durations and bodies. The tokens are derived from it too, so two loads
	// on one server need different seeds to find that one got an answer of the other's.
	Seed uint64

	// Dialer makes the connections; nil is a new one. It may be shared with other clients; its counts are then of all.
	Dialer *Dialer
}

// errOptions is what each complaint about Options wraps.
var errOptions = errors.New("load: wrong options")

// withDefaults returns o with its zero values replaced, or an error that says which value makes no sense.
func (o Options) withDefaults() (Options, error) {
	if o.Address == "" {
		return o, fmt.Errorf("%w: no Address", errOptions)
	}
	workers := 0
	for k := range kinds {
		n := o.workers(k)
		if n < 0 {
			return o, fmt.Errorf("%w: %d workers of kind %s", errOptions, n, k)
		}
		workers += n
	}
	if workers == 0 {
		return o, fmt.Errorf("%w: no workers of any kind", errOptions)
	}
	if o.Pace < 0 || o.Rest < 0 || o.SlowFor < 0 || o.UploadFor < 0 || o.Timeout < 0 || o.UploadSize < 0 {
		return o, fmt.Errorf("%w: a duration or size is negative", errOptions)
	}
	if o.Network == "" {
		o.Network = "tcp"
	}
	if o.Pace == 0 {
		o.Pace = 5 * time.Millisecond
	}
	if o.Rest == 0 {
		o.Rest = time.Minute
	}
	if o.SlowFor == 0 {
		o.SlowFor = 650 * time.Millisecond
	}
	if o.UploadFor == 0 {
		o.UploadFor = time.Second
	}
	if o.UploadSize == 0 {
		o.UploadSize = 64 << 10
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Dialer == nil {
		o.Dialer = new(Dialer)
	}
	return o, nil
}

// workers returns the number of workers of a kind.
func (o *Options) workers(k Kind) int {
	return [kinds]int{o.New, o.Kept, o.Slow, o.Upload, o.Idle}[k]
}
