package handoff

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/segue-go/segue/handoff/internal/driver"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/migrate"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/state"
)

// Sentinels, for [errors.Is]. Every error of this package, but io.EOF of [Generation.Take], is an [*Error] around one of
// them, an error of the system, or a context's cause. Errors about a generation that was closed are [net.ErrClosed]; waits that ran out of time are
// [os.ErrDeadlineExceeded].
var (
	// ErrBusy: another handoff is under way. [BusyError] says whose.
	ErrBusy = driver.ErrBusy
	// ErrPathless: this process already has a Generation without a Path.
	ErrPathless = errors.New("this process already has a Generation without a Path; give each Generation a Path of its own")
	// ErrNotOwner: this generation does not own the sockets (any more).
	ErrNotOwner = driver.ErrNotOwner
	// ErrUnauthorized: one side does not accept the other.
	ErrUnauthorized = link.ErrUnauthorized
	// ErrVersion: the two programs speak no common version of the protocol.
	ErrVersion = link.ErrVersion
	// ErrPeerDied: the process at the other end died.
	ErrPeerDied = link.ErrPeerDied
	// ErrAborted: the other side ended the handoff; the text says why.
	ErrAborted = link.ErrAborted
	// ErrProtocol: the other side sent what it must not send.
	ErrProtocol = link.ErrProtocol
	// ErrHandedBack: this generation owned the sockets, and gave them back because Check or a server failed.
	ErrHandedBack = driver.ErrHandedBack
	// ErrChanged: the incumbent opened or closed a socket while its successor prepared. Try again.
	ErrChanged = driver.ErrChanged
	// ErrNoSuccessor: there is nobody to give a connection to. This generation is not superseded (any more) or has ended, or
	// the successor cannot take connections, or has no descriptors left.
	ErrNoSuccessor = migrate.ErrNoSuccessor
	// ErrSection: a [Section] that cannot be registered, or that the successor cannot restore. The error says why.
	ErrSection = state.ErrSection
	// ErrState: a [Section] failed to move, or took too long. Nothing has happened: the incumbent serves on.
	ErrState = state.ErrState
	// ErrStale: a successor that had owned the sockets failed, and a [Section] forbids to serve with what this generation
	// has of it, which is behind. The generation is over: exit with an error, so that the program is started anew.
	ErrStale = state.ErrStale
	// ErrSuccessorDied: the successor died after the guard, at nobody's wish, while this generation drained, which cannot
	// serve any more. It is drained all the same. Exit with an error, so that a supervisor starts the program anew.
	ErrSuccessorDied = driver.ErrSuccessorDied
)

// Error is what this package's functions return.
type Error struct {
	Op    string // what was tried: join, listen, file, state, ready, check, wait, upgrade, give, take
	Phase Phase  // where the generation stood
	Err   error
}

func (e *Error) Error() string {
	return fmt.Sprintf("handoff: %s (%s): %v", e.Op, e.Phase, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// BusyError names the successor that is already at work. It is [ErrBusy].
type BusyError struct {
	PID   int    // of the successor that came first; 0 if it is only being started
	Name  string // its program
	Phase Phase  // how far the incumbent is with it
}

func (e *BusyError) Error() string {
	return (&driver.BusyError{PID: e.PID, Name: e.Name, Phase: string(e.Phase)}).Error()
}

// Is makes a BusyError an [ErrBusy].
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// Exit says how a process ended.
type Exit struct {
	// Known: the kernel has told. It tells of a process that is no child of this one ([Config].Siblings) from Linux 6.15 on, once
	// its parent has reaped it. Otherwise Code and Signal are 0.
	Known  bool
	Code   int            // the exit status, as of exit(3); 0 if a signal ended it
	Signal syscall.Signal // the signal that ended it; 0 if none did
}

// String is "exit status 3", "signal: killed" or "unknown".
func (e Exit) String() string {
	if !e.Known {
		return "unknown"
	}
	return peer.Exit{Code: e.Code, Signal: e.Signal}.String()
}

// ChildError says how the process that Upgrade started ended, and what it printed last.
type ChildError struct {
	PID int // of the process

	// State is nil if the process has not ended yet: it handed back, and still answers what it has accepted. It is nil, too, if the
	// process is no child of this one ([Config].Siblings), which can only be waited for by its parent: Ended and Exit are for both.
	State  *os.ProcessState
	Ended  bool   // the process has ended
	Exit   Exit   // how, if it has
	Output string // the last lines of its standard output and error
	Err    error  // why the upgrade failed
}

func (e *ChildError) Error() string {
	return (&driver.ChildError{PID: e.PID, Ended: e.Ended, Exit: e.Exit.known(), Output: e.Output, Err: e.Err}).Error()
}

func (e *ChildError) Unwrap() error { return e.Err }

// known is nil if it is not.
func (e Exit) known() *peer.Exit {
	if !e.Known {
		return nil
	}
	return &peer.Exit{Code: e.Code, Signal: e.Signal}
}

// errorf wraps err once, with the operation and the phase. Nil stays nil.
func (g *Generation) errorf(op string, err error) error {
	if err == nil {
		return nil
	}
	phase := g.currentPhase()
	// Only the outermost error counts: what a callback of the program has returned is further inside, and can be an Error too.
	switch e := err.(type) { //nolint:errorlint // see above
	case *Error:
		return err
	case *driver.Failure:
		phase, err = Phase(e.Phase.String()), e.Err
	}
	return &Error{Op: op, Phase: phase, Err: public(err)}
}

// public has the types of this package for those of the driver.
func public(err error) error {
	switch e := err.(type) { //nolint:errorlint // the driver wraps neither
	case *driver.BusyError:
		return &BusyError{PID: e.PID, Name: e.Name, Phase: Phase(e.Phase)}
	case *driver.ChildError:
		c := &ChildError{PID: e.PID, State: e.State, Ended: e.Ended, Output: e.Output, Err: e.Err}
		if e.Exit != nil {
			c.Exit = Exit{Known: true, Code: e.Exit.Code, Signal: e.Exit.Signal}
		}
		return c
	default:
		return err
	}
}
