package load

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"
)

// Failure is a request that was not answered, not in time, or not rightly; or, if Forced, an idle connection that the
// server closed before anything was sent on it.
type Failure struct {
	Kind   Kind
	Worker int
	Forced bool

	Op  string // connect, login, send, receive, check, idle
	Err error

	Started time.Time // of the request; the last answer's end if Forced
	At      time.Time // when it was noticed

	// Of the connection; without one Dialed is zero.
	Dialed   time.Time // when connecting began
	Local    string    // the client's address, to be found in a packet trace
	Answered int       // requests that were answered on it before
	PID      int       // who answered the last of them, by the header X-Segue-Pid; 0 is nobody, or unknown
}

// Error describes the failure in one line.
func (f Failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: %v", f.Kind, f.Op, f.Err)
	if f.Forced {
		b.WriteString(" (forced reconnect)")
	}
	if f.Dialed.IsZero() {
		return b.String()
	}
	fmt.Fprintf(&b, "; %s, connected %v before", f.Local, short(f.At.Sub(f.Dialed)))
	switch {
	case f.Answered == 0:
		b.WriteString(", never answered")
	case f.PID == 0:
		fmt.Fprintf(&b, ", %d answered", f.Answered)
	default:
		fmt.Fprintf(&b, ", %d answered, the last by pid %d", f.Answered, f.PID)
	}
	return b.String()
}

// Unwrap returns the cause.
func (f Failure) Unwrap() error { return f.Err }

// Dropped reports whether the peer closed the connection, as it happens when its process dies; no refused connection,
// no timeout and no wrong answer is one.
func (f Failure) Dropped() bool {
	return errors.Is(f.Err, io.EOF) || errors.Is(f.Err, io.ErrUnexpectedEOF) ||
		errors.Is(f.Err, syscall.ECONNRESET) || errors.Is(f.Err, syscall.EPIPE)
}

// What a check of an answer finds.
var (
	// ErrStatus is an answer whose status is not 200.
	ErrStatus = errors.New("status is not 200")
	// ErrForeign is an answer that does not hold the token of its request: somebody else's, or damaged.
	ErrForeign = errors.New("not the answer to this request")
	// ErrUnasked is data that came without a request.
	ErrUnasked = errors.New("data without a request")
)
