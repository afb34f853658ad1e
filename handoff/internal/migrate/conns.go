// Package migrate moves the live connections of one process to the process that replaces it, or gets the sockets back from it,
// over a link of the protocol.
//
// [Conns] is all of one process: the servers that track connections, those that are parked, those that the program gives and
// has not taken yet, and the [Departure] in force, by which connections leave. They come by an [Inflow].
package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/segue-go/segue/handoff/internal/live"
)

// ErrNoSuccessor means that there is nobody to give a connection to.
var ErrNoSuccessor = errors.New("no successor takes connections; go on serving this one, or close it")

// Standing is what becomes of the connections that come to a process.
type Standing int

const (
	// Serving means that they are for its own program, now or soon.
	Serving Standing = iota
	// Deciding means that it is superseded, and Depart or StayAll is about to be called.
	Deciding
	// Draining means that they are passed on, if there is a departure.
	Draining
	// Over means that the process takes none.
	Over
)

// Told is what became of a batch of connections.
type Told struct {
	Given    bool // by the program; otherwise they are those of a server
	Count    int
	Refused  bool // they stay, since the other process did not take them
	Kept     bool // they stay, since nothing moves any more
	Received bool // they came; otherwise they went
	Bulk     bool // no batch: all that was there at first has moved, or stays
}

// Config says what a Conns has to know of the process that it belongs to.
type Config struct {
	Context     context.Context                    // ends when all is to end
	Task        func(func())                       // runs a function in a goroutine that the end of the process waits for
	StepTimeout time.Duration                      // how long the other process may take nothing
	Standing    func() (Standing, <-chan struct{}) // the channel is closed when it may have changed
	Told        func(Told)                         // what became of a batch. It may be nil; everything else is required
}

// Conns are the live connections of one process that move, or may. Its methods may be called concurrently. Its mutex is held
// for short, and nothing is called meanwhile but what counts. Standing is called without it, so it may be taken under the lock
// that Standing takes.
type Conns struct {
	Log      *slog.Logger  // not to be changed once connections may come or go
	Exchange live.Exchange // servers that track connections

	cfg   Config
	gifts gifts // connections that the program has not taken yet
	moves       // what differs by platform
}

// New returns a Conns without connections. End it with Close.
func New(log *slog.Logger, cfg Config) *Conns {
	c := &Conns{Log: log, cfg: cfg}
	c.init()
	return c
}

// Give hands conn, and a copy of state, to the other process, whose Take returns it. On an error conn is still the caller's, and
// its deadlines are removed.
func (c *Conns) Give(name string, conn net.Conn, state []byte) error {
	if len(state) > live.MaxState {
		return fmt.Errorf("state of %d bytes is longer than %d; move the rest by Generation.State", len(state), live.MaxState)
	}
	inner, err := bottom(conn)
	if err != nil {
		return err
	}
	if err := inner.SetDeadline(time.Time{}); err != nil {
		return err
	}
	return c.give(&gift{kept: &c.gifts, name: name, conn: inner, state: append([]byte(nil), state...)})
}

// Take waits for a connection that was given under this name. The error is io.EOF once Close was called.
func (c *Conns) Take(ctx context.Context, name string) (net.Conn, []byte, error) {
	return c.gifts.take(ctx, name)
}
