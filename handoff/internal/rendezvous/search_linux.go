package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/peer"
)

// What becomes of a call, for [Search.Succeed] to return.
var (
	// ErrSilent: the incumbent took the connection, or the kernel did for it, and says nothing.
	ErrSilent = errors.New("the incumbent does not answer; is it stopped or stuck? Config.Rescue can replace it")
	// ErrLeft: the incumbent ended before it had said a word about a handover. Whoever is there now may take us.
	ErrLeft = errors.New("the incumbent ended before it answered")
)

// errFull: so many have called an incumbent in vain that nobody can any more. Only a connection tells who listens, so not
// even Rescue knows whom to replace.
var errFull = errors.New("the incumbent does not answer, and its queue is full of those who called it before; it is stopped or stuck: find it (ss -xlp), continue or kill it")

// errRetry: whoever is at the rendezvous now, if anybody, is to be called. It does not leave the search.
var errRetry = errors.New("to be tried again")

func retry(cause error) error { return fmt.Errorf("%w: %w", errRetry, cause) }

// Search finds the incumbent, whose successor this process becomes, or finds none, and then this process is the first.
type Search struct {
	Path Path
	Step time.Duration // for how long the queue of an incumbent may be full
	Log  *slog.Logger
	// Succeed becomes the successor of the incumbent at the other end of conn, which it takes. An error that is [ErrSilent] or
	// [ErrLeft] need not be the end of the search.
	Succeed func(ctx context.Context, conn *net.UnixConn) error
	// Ours reports whether an error of Succeed is that the incumbent is at work with a process that cannot become its successor:
	// this one, by a call that the incumbent has only just found, or one that a rescue has killed.
	Ours func(err error) bool
	// Bind makes this process the first. It is called with the lock held. The error is [ErrTaken] if somebody else was quicker.
	Bind func() error
	// Replace takes the place of an incumbent that is silent; nil: nobody does. It is [Rescue.Replace].
	Replace func(ctx context.Context, incumbent *peer.Peer) error

	called bool // an incumbent, in vain
}

// Run returns when this process has a place: as the first, or as a successor.
func (s *Search) Run(ctx context.Context) (first bool, err error) {
	var full time.Time // since when the queue of the incumbent is
	for context.Cause(ctx) == nil {
		conn, err := s.Path.Dial()
		switch {
		case err == nil:
			full = time.Time{}
			first, err := s.call(ctx, conn)
			if !errors.Is(err, errRetry) {
				return first, err
			}
		case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
			if err := s.Path.WithLock(ctx, s.Bind); !errors.Is(err, ErrTaken) {
				return err == nil, err
			}
		case errors.Is(err, syscall.EAGAIN): // the queue is full
			if full.IsZero() {
				full = time.Now()
			}
			if time.Since(full) > s.Step {
				return false, fmt.Errorf("%w: %w", errFull, os.ErrDeadlineExceeded)
			}
			sleep(ctx, lockPoll)
		case errors.Is(err, syscall.EPROTOTYPE):
			return false, fmt.Errorf("%w: something that does not speak segue's protocol listens there", err)
		default:
			return false, err
		}
	}
	return false, context.Cause(ctx)
}

// call tries to succeed the incumbent at the other end of conn, which it takes. The error is an errRetry
// if whoever is at the rendezvous then is to be called, if anybody.
func (s *Search) call(ctx context.Context, conn *net.UnixConn) (first bool, err error) {
	incumbent, err := IncumbentOf(conn)
	dead := errors.Is(err, peer.ErrGone) // it has been reaped; from Linux 6.17 on it has a pidfd nevertheless
	if err != nil && !dead {
		_ = conn.Close()
		return false, err
	}
	if !dead {
		defer func() { _ = incumbent.Close() }()
	}
	called := s.called
	s.called = true
	// Also if the incumbent is dead: somebody else holds its rendezvous, who will accept this call, or close it. To hang up and
	// call again would fill the queue.
	err = s.Succeed(ctx, conn)
	dead = dead || incumbent.Dead()
	switch {
	case errors.Is(err, ErrLeft):
		s.Log.Info("the incumbent ended before it answered; trying again", "path", string(s.Path))
		if incumbent != nil {
			incumbent.Await(ctx, peer.ExitGrace)
		} else {
			sleep(ctx, lockPoll)
		}
		return false, retry(err)
	case called && s.Ours(err):
		sleep(ctx, lockPoll)
		return false, retry(err)
	case errors.Is(err, ErrSilent) && dead: // and must not be rescued: its number may be another's by now
		s.Log.Info("the incumbent is dead, and its successor not ready yet; waiting", "path", string(s.Path))
		return false, retry(err)
	case errors.Is(err, ErrSilent) && s.Replace != nil:
		err = s.Replace(ctx, incumbent)
		return err == nil, err
	default:
		return false, err
	}
}
