package driver

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/state"
	"github.com/segue-go/segue/handoff/timeline"
)

// errStart is around the error of a successor that could not be started.
type errStart struct{ error }

func (e errStart) Unwrap() error { return e.error }

// reasonOf finds the word for why a handoff has failed. The first that fits counts.
func reasonOf(err error) timeline.Reason {
	var start errStart
	switch {
	case err == nil:
		return timeline.ReasonNone
	case errors.As(err, &start):
		return timeline.ReasonStart
	case errors.Is(err, errDisplaced):
		return timeline.ReasonDisplaced
	case errors.Is(err, link.ErrReturned):
		return timeline.ReasonCheck
	case errors.Is(err, errWished):
		return timeline.ReasonWished
	case errors.Is(err, state.ErrStale), errors.Is(err, state.ErrState), errors.Is(err, state.ErrSection):
		return timeline.ReasonState
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ETOOMANYREFS):
		return timeline.ReasonDescriptors
	case errors.Is(err, link.ErrPeerDied), errors.Is(err, ErrSuccessorDied):
		return timeline.ReasonDied
	case errors.Is(err, ErrChanged):
		return timeline.ReasonChanged
	case errors.Is(err, link.ErrUnauthorized):
		return timeline.ReasonUnauthorized
	case errors.Is(err, link.ErrVersion):
		return timeline.ReasonVersion
	case errors.Is(err, link.ErrTransport):
		return timeline.ReasonTransport
	case errors.Is(err, ErrBusy), errors.Is(err, ErrNotOwner):
		return timeline.ReasonBusy
	case errors.Is(err, errors.ErrUnsupported):
		return timeline.ReasonUnsupported
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return timeline.ReasonTimeout
	case errors.Is(err, context.Canceled):
		return timeline.ReasonCanceled
	case errors.Is(err, net.ErrClosed):
		return timeline.ReasonClosed
	case errors.Is(err, link.ErrAborted):
		return timeline.ReasonGaveUp
	case errors.Is(err, link.ErrProtocol), link.Over(err):
		return timeline.ReasonProtocol
	default:
		return timeline.ReasonOther
	}
}

// errDied is around the end of a link to a process that has died by itself.
type errDied struct{ error }

func (e errDied) Unwrap() error        { return e.error }
func (e errDied) Is(target error) bool { return target == link.ErrPeerDied }

// reasonOfResult is reasonOf of a handoff that has ended so. An incumbent that gets its sockets back from a successor that took too
// long had one that owned, or may have.
func reasonOfResult(r timeline.Role, result timeline.Result, err error) timeline.Reason {
	reason := reasonOf(err)
	if r == timeline.Incumbent && reason == timeline.ReasonTimeout {
		switch result {
		case timeline.RolledBack, timeline.Revived, timeline.Stale:
			return timeline.ReasonUnresponsive
		}
	}
	return reason
}

// errDisplaced: somebody else is the successor now.
var errDisplaced = errors.New("it did not answer while another successor waited")

// errWished: somebody ended the successor on purpose.
var errWished = errors.New("somebody ended the successor")

// early is the result of an attempt that ended before its successor owned.
func early(err error) timeline.Result {
	switch reasonOf(err) {
	case timeline.ReasonDisplaced, timeline.ReasonCanceled, timeline.ReasonClosed, timeline.ReasonChanged:
		return timeline.Aborted
	default:
		return timeline.Failed
	}
}
