package driver

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/timeline"
)

const (
	// MaxConfirm bounds what a successor may ask for as its time to confirm.
	MaxConfirm = 24 * time.Hour
	// MaxState bounds what an incumbent may ask for as the time for sections of state.
	MaxState = 24 * time.Hour
)

// Config is what a Driver has to know of the program. A field without a comment is the field of handoff.Config with the same name,
// with its default filled in.
type Config struct {
	Path    string
	PIDFile string
	// Supervisor is a PID file for the process that has started the program (startenv.PIDFile). It names this process before this
	// process confirms, so that a predecessor knows whether it has the same supervisor.
	Supervisor string
	DryRun     string // the file for what a dry run finds (startenv.DryRun); empty: it is no dry run
	Command    func() *exec.Cmd
	Siblings   bool
	Environ    func(env []string) []string // changes the environment of a successor that this process starts; nil: it is left as it is
	Signals    []os.Signal

	ReadyTimeout, StepTimeout, StateTimeout, DrainTimeout, StopTimeout, Guard, Probation time.Duration

	Check     func(context.Context) error
	Authorize func(Peer) error
	SendOnly  bool // descriptors are sent, never taken
	PullOnly  bool // descriptors are taken, never sent

	// Rescue takes the sockets of an incumbent that does not answer. Rescued is called with them, within Join, if this process is
	// the first of a new chain, which gets its sockets from there. Otherwise they are closed. Rescue may be nil.
	Rescue  func(ctx context.Context, incumbent Peer) (Rescued, error)
	Rescued func(Rescued)

	Logger *slog.Logger

	// Trace is told of what happens; nil: nobody is.
	Trace *timeline.Trace

	// What follows tells of what has happened. Each may be nil, and must not call a method of the Driver. What they take delays
	// the generation. They are those of package hook, and of a handoff.Source.
	Opened, Closed func(*sockets.Socket)
	Keeps          func(*sockets.Socket) bool
	Phase          func(from, to Phase)
	Settled        func()                             // the sockets will not go back to a predecessor
	Released       func(successor Peer, foreign bool) // this generation gives up that it could be revived
	Failed         func(error)                        // an attempt to hand over has failed
}

// Peer is the process at the other end: see handoff.Peer.
type Peer struct {
	PID int
	UID uint32
	GID uint32
}

// Rescued is what was taken from an incumbent that does not answer.
type Rescued interface {
	// Close closes it. Nothing was asked of it.
	Close()
}

// finishAnyhow bounds how long Close and Wait take when draining has no bound.
const finishAnyhow = time.Minute

func finishWithin(d time.Duration) time.Duration {
	if d <= 0 {
		return finishAnyhow
	}
	return d
}
