// Package link is one connection of the protocol: frames with their descriptors, deadlines, and what tells that the process at
// the other end is gone.
package link

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// What the other side says, or does wrong: all that an end of a link can be. Package handoff exports them; what they mean is
// documented there.
var (
	ErrUnauthorized = peer.ErrUnauthorized
	ErrPeerDied     = peer.ErrDied
	ErrProtocol     = wire.ErrProtocol
	ErrVersion      = errors.New("no common protocol version")
	ErrAborted      = errors.New("the other side ended the handoff")
	ErrTransport    = errors.New("the configured transport is not available")
)

// ErrReturned means that the other side had owned the sockets, and has put the token back. It is [ErrAborted].
var ErrReturned = fmt.Errorf("%w", ErrAborted)

// ErrDetached is a cause of contexts. When one ends by it, [Link.Recv] returns at once: nothing follows from it, and what is
// queued is for the next call.
var ErrDetached = errors.New("another reads from this link now")

// Local is an error that came about on this side, whatever it wraps, such as that of a callback of the program. It says nothing
// of the other side.
type Local interface {
	error
	Local()
}

// Over reports whether err says that the other side is gone, rather than that it answers something else. A [Local] error never
// says that.
func Over(err error) bool {
	var local Local
	if errors.As(err, &local) {
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, ErrPeerDied) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// NoAnswer is the error of a wait that took d. It is [os.ErrDeadlineExceeded].
func NoAnswer(d time.Duration) error {
	return fmt.Errorf("no answer within %v: %w", d, os.ErrDeadlineExceeded)
}
