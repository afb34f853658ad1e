package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/segue-go/segue/handoff/internal/peer"
)

// errNoSource: a callback that took nothing must say that it failed.
var errNoSource = errors.New("Config.Rescue returned neither a Source nor an error; return a Source, be it one that has nothing, if the incumbent is to be killed")

// Rescue replaces an incumbent that does not answer: it takes its sockets, and ends it, since it would be a second owner if it
// went on one day.
type Rescue struct {
	Path Path
	Step time.Duration // how long a process that was killed may take to die
	Log  *slog.Logger
	// Rule is the program's own, for [Authorize].
	Rule func(*peer.Peer) error
	// Take takes the sockets. Nil without an error is a mistake of the program.
	Take func(ctx context.Context, incumbent *peer.Peer) (Sockets, error)
	// Bind makes this process the first. It is called with the lock held.
	Bind func() error

	killed int
	taken  Sockets
}

// Sockets are what was taken from an incumbent.
type Sockets interface {
	// Close closes them. Nothing was asked of them.
	Close()
}

// Killed is the number of the last incumbent that was killed; 0 if none was.
func (r *Rescue) Killed() int { return r.killed }

// Taken returns the sockets of the last incumbent that was killed, which are the caller's from then on; nil if there are none.
func (r *Rescue) Taken() Sockets {
	taken := r.taken
	r.taken = nil
	return taken
}

// Close closes what nobody has called Taken for.
func (r *Rescue) Close() { r.keep(nil) }

// keep closes what was taken before.
func (r *Rescue) keep(taken Sockets) {
	if r.taken != nil {
		r.taken.Close()
	}
	r.taken = taken
}

// Replace takes the place of incumbent. The error is an errRetry if whoever is at the rendezvous then is to be called, if anybody.
func (r *Rescue) Replace(ctx context.Context, incumbent *peer.Peer) error {
	if err := Authorize(r.Rule, incumbent, nil); err != nil {
		return fmt.Errorf("rescue: %w", err)
	}
	if err := r.Path.identify(ctx, incumbent); err != nil {
		return err
	}
	// Of several that rescue, the one that takes the sockets takes the place: the others find it taken, or the incumbent dead.
	return r.Path.WithLock(ctx, func() error {
		if _, err := r.Path.callAgain(ctx, incumbent); err != nil {
			return err
		}
		if err := r.take(ctx, incumbent); err != nil {
			return err
		}
		if err := r.Bind(); errors.Is(err, ErrTaken) { // by an heir or a predecessor
			return retry(err)
		} else if err != nil {
			return err
		}
		return nil
	})
}

// take takes the sockets of an incumbent, and kills it.
func (r *Rescue) take(ctx context.Context, incumbent *peer.Peer) error {
	r.Log.Error("RESCUE: the incumbent does not answer; trying to take its sockets", "incumbent", incumbent.PID)
	taken, err := r.Take(ctx, incumbent)
	switch {
	case err != nil:
		failed := fmt.Errorf("rescue of pid %d: %w", incumbent.PID, err)
		if incumbent.Await(ctx, peer.ExitGrace) { // that may be why
			r.Log.Warn("RESCUE: the incumbent ended meanwhile; trying again without", "incumbent", incumbent.PID, "error", err)
			return retry(failed)
		}
		return failed
	case taken == nil:
		return fmt.Errorf("rescue of pid %d: %w", incumbent.PID, errNoSource)
	case incumbent.Dead(): // as long as it lived nobody else had its number, but this may be another's sockets
		r.Log.Warn("RESCUE: the incumbent ended meanwhile; what was taken is dropped, trying again without", "incumbent", incumbent.PID)
		taken.Close()
		return retry(fmt.Errorf("rescue of pid %d: %w", incumbent.PID, peer.ErrDied))
	}
	r.Log.Error("RESCUE: the incumbent's sockets are taken; it is killed", "incumbent", incumbent.PID)
	if err := r.kill(ctx, incumbent); err != nil {
		taken.Close()
		return fmt.Errorf("rescue: %w", err)
	}
	r.Log.Error("RESCUE: the incumbent is dead; this process takes its place, unless an heir or a predecessor does", "incumbent", incumbent.PID)
	r.keep(taken) // what an earlier rescue brought, the one just killed may have had too
	r.killed = incumbent.PID
	return nil
}

// kill kills an incumbent and sees it dead.
func (r *Rescue) kill(ctx context.Context, incumbent *peer.Peer) error {
	if err := incumbent.Kill(); err != nil {
		return err
	}
	switch {
	case incumbent.Await(ctx, r.Step):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return fmt.Errorf("pid %d was killed but does not die; it ends once what it does in the kernel ends (see /proc/%d/stack), then start again: %w",
			incumbent.PID, incumbent.PID, os.ErrDeadlineExceeded)
	}
}
