//go:build !linux

package peer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/listener"
)

// Peer is another process. There is none on this system: both constructors fail.
type Peer struct {
	PID      int
	UID, GID uint32
}

func unsupported() error {
	return fmt.Errorf("peer: %w on %s; it needs Linux", errors.ErrUnsupported, runtime.GOOS)
}

// FromMessage returns an error that is [errors.ErrUnsupported].
func FromMessage(*fdpass.Message) (*Peer, error) { return nil, unsupported() }

// FromPidFD returns an error that is [errors.ErrUnsupported]; fd stays the caller's.
func FromPidFD(*listener.FD, int, uint32, uint32) (*Peer, error) { return nil, unsupported() }

// Self returns false.
func (p *Peer) Self() bool { return false }

// Done returns a channel that is never closed.
func (p *Peer) Done() <-chan struct{} { return nil }

// Dead returns false.
func (p *Peer) Dead() bool { return false }

// Await waits until d is over, or ctx ends, and returns false.
func (p *Peer) Await(ctx context.Context, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
	return false
}

// Kill returns an error that is [errors.ErrUnsupported].
func (p *Peer) Kill() error { return unsupported() }

// Exit knows nothing.
func (p *Peer) Exit() (Exit, bool) { return Exit{}, false }

// WaitExit knows nothing.
func (p *Peer) WaitExit(context.Context) (Exit, bool) { return Exit{}, false }

// Close does nothing.
func (p *Peer) Close() error { return nil }
