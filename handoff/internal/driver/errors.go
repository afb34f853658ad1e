package driver

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/segue-go/segue/handoff/internal/peer"
)

// See the errors of handoff with these names.
var (
	ErrBusy          = errors.New("another handoff is under way")
	ErrNotOwner      = errors.New("this generation does not own the sockets")
	ErrHandedBack    = errors.New("sockets handed back to the predecessor")
	ErrChanged       = errors.New("sockets were opened or closed meanwhile; try again")
	ErrSuccessorDied = errors.New("the successor died after the guard, and nobody serves; start the program anew")
)

// Failure is why an operation of a generation failed, and the phase in which it was then. It is what logs and Status show, and
// reads as handoff.Error, which takes its place in what the functions of that package return.
type Failure struct {
	Op    string // as that of handoff.Error
	Phase Phase
	Err   error
}

func (e *Failure) Error() string { return fmt.Sprintf("handoff: %s (%s): %v", e.Op, e.Phase, e.Err) }
func (e *Failure) Unwrap() error { return e.Err }

// failure notes the operation, and the phase. Nil stays nil. What failed within the operation takes its name.
func (d *Driver) failure(op string, err error) error {
	if err == nil {
		return nil
	}
	return failed(op, d.Phase(), err)
}

func failed(op string, phase Phase, err error) *Failure {
	if f, ok := err.(*Failure); ok { //nolint:errorlint // what a callback has returned is further inside
		if f.Op == op {
			return f
		}
		err = f.Err
	}
	return &Failure{Op: op, Phase: phase, Err: err}
}

// BusyError is handoff.BusyError.
type BusyError struct {
	PID   int
	Name  string
	Phase string // in the words of the incumbent, which may be of another release
}

func (e *BusyError) Error() string {
	who := "a successor that is just being started"
	if e.PID != 0 {
		who = fmt.Sprintf("process %d (%s)", e.PID, e.Name)
	}
	return fmt.Sprintf("%v: %s, incumbent %s; wait for it to end, then try again", ErrBusy, who, e.Phase)
}

// Is makes a BusyError an [ErrBusy].
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// ChildError is handoff.ChildError.
type ChildError struct {
	PID    int
	State  *os.ProcessState
	Ended  bool
	Exit   *peer.Exit // nil: not known
	Output string
	Err    error
}

func (e *ChildError) Error() string {
	var b strings.Builder
	b.WriteString(e.Err.Error())
	switch {
	case e.Ended && e.Exit != nil:
		fmt.Fprintf(&b, "; successor pid %d ended: %v", e.PID, *e.Exit)
	case e.Ended:
		fmt.Fprintf(&b, "; successor pid %d ended: how is known to its parent only (Config.Siblings; Linux 6.15 and later tell others)", e.PID)
	}
	if e.Output != "" {
		fmt.Fprintf(&b, "; its last output:\n%s", e.Output)
	}
	return b.String()
}

func (e *ChildError) Unwrap() error { return e.Err }
