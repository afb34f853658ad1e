package link

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/segue-go/segue/handoff/internal/wire"
)

// due is what has ended, or is over, where what was queued before is not all received yet. The zero value: nothing.
type due struct {
	over any    // the Done of a context or of a process, or a deadline
	sync uint64 // what the reader passes on before it answers this sync was queued before
}

// Recv waits for the next message, for at most d (0: no bound), until ctx ends, or until the other process dies. A process
// that was itself stopped finds its timers expired, and all that happened meanwhile is waiting. So of what is there at once, Recv
// reports the first of
//
//	a frame that is queued
//	the end of the link, or the death of the other process
//	a deadline, be it d or that of ctx
//
// The end of ctx for another reason comes before an end of the link. The caller takes the frame's descriptors.
//
// What is queued when Recv finds that ctx has ended, or the other process, comes first. What is said later does not, so nobody
// puts that off for ever by going on to speak: calls of Recv with the same ctx return what was queued then, and then report it.
func (l *Link) Recv(ctx context.Context, d time.Duration) (Frame, error) {
	if d <= 0 {
		return l.recv(ctx, time.Time{}, 0)
	}
	return l.recv(ctx, time.Now().Add(d), d)
}

// RecvBy is Recv up to a deadline (the zero time: none) that may be that of several messages; d is how long all of them may take,
// for the error. What is said after the deadline is left to calls with another one, as Recv does after the end of ctx.
func (l *Link) RecvBy(ctx context.Context, deadline time.Time, d time.Duration) (Frame, error) {
	return l.recv(ctx, deadline, d)
}

func (l *Link) recv(ctx context.Context, deadline time.Time, d time.Duration) (Frame, error) {
	if l.ended != nil {
		return Frame{}, l.ended
	}
	var expired <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		expired = t.C
	}
	var died <-chan struct{}
	if l.Peer != nil {
		died = l.Peer.Done()
	}
	var over any // what has ended: by that it is known again
	switch {
	case ctx.Err() != nil:
		over = ctx.Done()
	case !deadline.IsZero() && !time.Now().Before(deadline):
		over = deadline
	default:
		select {
		case f, ok := <-l.frames:
			return l.received(f, ok)
		case <-ctx.Done():
			over = ctx.Done()
		case <-died:
			over = died
		case <-expired:
			over = deadline
		}
	}
	var cause error
	switch over {
	case any(ctx.Done()):
		cause = context.Cause(ctx)
		if errors.Is(cause, ErrDetached) {
			return Frame{}, cause // nothing follows from it, and what is queued is for the next call
		}
	case any(died):
		cause = ErrPeerDied
	default:
		cause = NoAnswer(d)
	}
	late := errors.Is(cause, os.ErrDeadlineExceeded) || errors.Is(cause, context.DeadlineExceeded)
	if late && l.Peer != nil && l.Peer.Dead() {
		late, cause = false, ErrPeerDied
	}
	return l.recvQueued(over, cause, late)
}

// recvQueued returns what was queued when over was first seen, and then cause. late: cause is a deadline, which comes after the end
// of the link.
func (l *Link) recvQueued(over any, cause error, late bool) (Frame, error) {
	if l.due.over != over {
		l.due = due{over: over, sync: l.syncs.Add(1)}
		if err := l.Conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
			return Frame{}, cause
		}
	}
	for {
		select { // first: the reader may have read on
		case n := <-l.synced:
			if n >= l.due.sync {
				l.due = due{}
				return Frame{}, cause
			}
		default:
		}
		select {
		case f, ok := <-l.frames:
			f, err := l.received(f, ok)
			if err != nil && !late {
				err = cause // beside which the end is no news
			}
			return f, err
		case n := <-l.synced:
			if n >= l.due.sync {
				l.due = due{}
				return Frame{}, cause
			}
		}
	}
}

func (l *Link) received(f Frame, ok bool) (Frame, error) {
	switch {
	case !ok:
		l.ended = io.EOF
		return Frame{}, l.ended
	case f.err != nil:
		l.ended = f.err
		return Frame{}, l.ended
	}
	if l.Received != nil {
		l.Received(f.Msg, len(f.Raw.FDs))
	}
	return f, nil
}

// Expect is Recv for a message without descriptors of one of two kinds: M, or one that ends the attempt, which becomes
// an error.
func Expect[M wire.Message](ctx context.Context, l *Link, d time.Duration) (M, error) {
	var none M
	f, err := l.Recv(ctx, d)
	if err != nil {
		return none, err
	}
	return MessageOf[M](l, f)
}

// MessageOf is the message of f, if it is an M.
func MessageOf[M wire.Message](l *Link, f Frame) (M, error) {
	f.Raw.Close() // surplus
	if m, ok := f.Msg.(M); ok {
		return m, nil
	}
	var none M
	return none, l.Unexpected(f.Msg)
}
