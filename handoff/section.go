package handoff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/segue-go/segue/handoff/internal/wire"
)

// Section is a part of a program's state that moves to the successor with the sockets. Register it with
// [Generation.State], under a name that the successor uses too.
//
// A section is in one of two manners, or both. What Save writes moves in the gap of the switch: while it is called, and
// until the successor serves, no connection is accepted, no request of an HTTP or HTTPS server of package serve is
// begun, whatever its listener, and those in flight have been waited for. So it is exact. Calls of gRPC, what a
// serve.Func server does, connections that were hijacked, and all else that changes the section, is stopped by Hold, or
// not at all. What Ahead writes is sent before, while this generation serves; a section with both sends the bulk by
// Ahead and only the difference by Save. A section with Ahead alone moves without a gap.
//
// The gap, from the pause to the commit, and what is sent ahead may each take Config.StateTimeout, over all sections.
// If that is exceeded, or if a callback fails on either side, nothing has happened: this generation serves on, and the
// successor's Ready returns an error.
//
// A section with Hold alone moves nothing: it is something that only one process may have, such as a lock, a lease or a
// scheduler. Whatever the successor knows of it, and whether or not any state moves, Hold lets go of it before the
// successor can own, while this generation still serves; so there is no gap in which clients wait. All such sections are
// held at once, within Config.StateTimeout; if one cannot be, the upgrade fails. release takes it back if this generation
// serves on. Hold is called too, and release is not, before this generation hands back to its predecessor, and when it is
// closed while it owns; it may be called again then although it is held. If it fails when the sockets are to go back, the
// predecessor kills this process before it serves. The program takes what the section stands for when Ready has returned.
// [github.com/segue-go/segue/handoff/serve.Worker] is made of it.
//
// # Callbacks
//
// They are called one at a time, sections in the order of State, in goroutines of the generation. Their context ends
// when that time is over, when the generation is closed, and when the other process dies or gives up (but see below);
// they are expected to return then. This generation serves on without waiting for one that does not, which then runs
// beside a program that serves again: what it reads must be under the program's own lock, and not only under Hold.
// Close waits for it, and an upgrade that is tried meanwhile fails. A panic counts as an error, and is logged with its
// stack.
//
// # Without a predecessor's word
//
// A successor that takes the sockets of an incumbent which died or was closed before the commit serves with what had
// arrived by then, and restores that first: all of it, some sections, only what was sent ahead, or nothing. What was
// not restored is to be as at a fresh start; Fresh is called for it.
type Section struct {
	// Save writes the section. Nil: the section has nothing that must be exact, and needs no gap. What it writes is
	// buffered, and goes to memory that is shared with the successor.
	Save func(ctx context.Context, w io.Writer) error
	// Restore reads what the predecessor's Save wrote. It is called by Ready, before this generation owns; not if there is
	// no predecessor, or one without that section. r may be read from several goroutines by ReadAt, until Restore returns.
	// Who has Save needs it.
	Restore func(ctx context.Context, r *io.SectionReader) error

	// Fresh is called by Ready, before this generation owns, if the section has not come, or not to its end: there is no
	// predecessor, or one without that section, or it died, or was closed, before it had sent it. Then Restore is not called,
	// but RestoreAhead may have been. It is the place to load what a fresh start begins with. An error fails Ready.
	//
	// Without a predecessor, and where that one does not have the section, nobody waits for it but the caller of Ready, and a
	// predecessor serves on for its ReadyTimeout. In the other cases nobody serves until it returns. Nil: there is nothing to
	// be done.
	Fresh func(ctx context.Context) error

	// Ahead and RestoreAhead are the same for what is sent while the predecessor still serves. RestoreAhead is called
	// before Restore. Nil: nothing is.
	Ahead        func(ctx context.Context, w io.Writer) error
	RestoreAhead func(ctx context.Context, r *io.SectionReader) error

	// Hold stops what could change the section, but for requests of HTTP and HTTPS servers of package serve, and waits for
	// what is under way; it is called before Save, when those have been stopped and the sockets are paused. release, which
	// must not block, undoes it if this generation serves on, now or after a revival. It is never called if the state has
	// moved for good: what is held then is to be closed, or given away, when the generation is superseded. After an error
	// there is no release. Nil: there is nothing else. Without Save and Ahead see above.
	Hold func(ctx context.Context) (release func(), err error)

	// Revival is what becomes of a section with Save if this generation takes the sockets back from a successor that has
	// owned them, and so may have changed the state, or acknowledged changes of it. Default: [RevivalForbid], which for a
	// section with Ahead alone means [RevivalKeep].
	Revival Revival
	// Revived is called for [RevivalCall], before this generation serves again. An error is as RevivalForbid.
	Revived func(ctx context.Context) error

	// Probation allows the section in a generation with Config.Probation or Config.Check: what it then serves before it
	// confirms is lost with a revival.
	Probation bool
}

// Revival is what becomes of a [Section] in a revival.
type Revival int

const (
	// RevivalForbid ends this generation rather than to serve with a state that is behind: Wait returns [ErrStale].
	RevivalForbid Revival = iota
	// RevivalKeep serves on with the state as it was at the switch.
	RevivalKeep
	// RevivalCall calls Section.Revived first.
	RevivalCall
)

// section is one that is registered.
type section struct {
	Section
	name    string
	running sync.Mutex // held while a callback of it runs
	fresh   bool       // Fresh was called, or would have been; owned by Ready
}

// State registers a section of the program's state, which moves to the successor in the transaction that moves the
// sockets, and comes from the predecessor likewise. It is called before Ready and before serve.Run, at most 64 times,
// with names of 1 to 255 bytes that are unique; those that begin with segue/ are segue's own, for the keys of TLS
// session tickets.
//
// A section that the successor does not register is not moved. If it registers it, but cannot restore what this
// generation sends (ahead, or in the gap), the upgrade fails.
//
// The error is [ErrSection] if that is not what s or the generation is like, or [net.ErrClosed].
func (g *Generation) State(name string, s Section) error {
	return g.errorf("state", g.register(name, s))
}

func (g *Generation) register(name string, s Section) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %.64q: "+format, append([]any{ErrSection, name}, args...)...)
	}
	if _, err := wire.Encode(&wire.State{Name: name}); err != nil || name == "" {
		return refuse("a name has 1 to %d bytes, in UTF-8 and without NUL", wire.MaxName)
	}
	switch {
	case s.Save == nil && s.Ahead == nil && s.Hold == nil:
		return refuse("it needs Save, or Ahead, or Hold alone")
	case (s.Save == nil) != (s.Restore == nil):
		return refuse("Save and Restore go together")
	case (s.Ahead == nil) != (s.RestoreAhead == nil):
		return refuse("Ahead and RestoreAhead go together")
	case s.Fresh != nil && s.Save == nil && s.Ahead == nil:
		return refuse("Fresh is for what can be restored")
	case s.Hold != nil && s.Save == nil && (s.Ahead != nil || s.Revival != RevivalForbid):
		return refuse("Hold is for Save, which it does not have, or it stands alone")
	case s.Revival < RevivalForbid || s.Revival > RevivalCall:
		return refuse("there is no Revival %d", s.Revival)
	case (s.Revived != nil) != (s.Revival == RevivalCall):
		return refuse("Revived and RevivalCall go together")
	case !s.Probation && (s.Save != nil || s.Ahead != nil) && (g.cfg.Probation > 0 || g.cfg.Check != nil):
		return refuse("what is served before this generation confirms would be lost if it does not; set Section.Probation to " +
			"accept that, or neither Config.Probation nor Config.Check")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closing || g.phase == PhaseStopped:
		return g.closedLocked()
	case g.sealed || g.phase != PhaseStarting:
		return refuse("State comes before Ready")
	case len(g.sections) == wire.MaxSections:
		return refuse("%d sections are the most", wire.MaxSections)
	}
	for _, other := range g.sections {
		if other.name == name {
			return refuse("there is already a section of that name")
		}
	}
	g.sections = append(g.sections, &section{Section: s, name: name})
	return nil
}

// stateTime bounds ctx by the time that sections may take.
func (g *Generation) stateTime(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, g.cfg.StateTimeout,
		fmt.Errorf("not done within %v (Config.StateTimeout): %w", g.cfg.StateTimeout, os.ErrDeadlineExceeded))
}

// freshen calls Fresh for the sections that do not come, or have not, and for which it has not been called.
func (g *Generation) freshen(ctx context.Context, comes func(*section) bool) error {
	g.mu.Lock()
	sections := slices.Clone(g.sections)
	g.mu.Unlock()
	for _, s := range sections {
		if s.fresh || comes(s) {
			continue
		}
		s.fresh = true
		if s.Fresh == nil {
			continue
		}
		if err := g.callBack(ctx, s, "Fresh", s.Fresh); err != nil {
			return err
		}
	}
	return nil
}

// sectionError is what a callback of a section did.
type sectionError struct {
	name, what string
	err        error
}

func (e *sectionError) Error() string {
	return fmt.Sprintf("%v: section %q: %s: %v", ErrState, e.name, e.what, e.err)
}

func (e *sectionError) Unwrap() []error { return []error{ErrState, e.err} }

// Local: it says nothing of the process at the other end, whatever it wraps.
func (*sectionError) Local() {}

// isSection reports whether err is what a callback did, whatever that wraps.
func isSection(err error) bool {
	var s *sectionError
	return errors.As(err, &s)
}

// errRunning: a callback that ignored its context still runs.
var errRunning = errors.New("a callback of an earlier attempt has not returned yet; it must when its context ends")

// callBack runs a callback of s until it returns, or does not although ctx has ended: then it goes on in a goroutine
// that Close waits for.
func (g *Generation) callBack(ctx context.Context, s *section, what string, f func(context.Context) error) error {
	if ctx.Err() != nil {
		return &sectionError{s.name, what, context.Cause(ctx)}
	}
	if !s.running.TryLock() {
		return &sectionError{s.name, what, errRunning}
	}
	done := make(chan error, 1)
	g.task(func() {
		err := g.recovered(ctx, s, what, f)
		s.running.Unlock() // before anybody hears of it, who may call the next one
		done <- err
	})
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		t := time.NewTimer(callbackGrace)
		defer t.Stop()
		select {
		case err = <-done:
		case <-t.C:
			g.log.Error("a callback does not return although its context has ended", "section", s.name, "callback", what)
			err = fmt.Errorf("it does not return: %w", context.Cause(ctx))
		}
	}
	if err != nil {
		return &sectionError{s.name, what, err}
	}
	return nil
}

// recovered calls f, and makes an error of a panic: the program could not recover from it itself, and it must not take what
// serves with it.
func (g *Generation) recovered(ctx context.Context, s *section, what string, f func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			g.log.Error("a callback panicked", "section", s.name, "callback", what, "panic", v, "stack", string(debug.Stack()))
			if err, _ = v.(error); err != nil {
				err = fmt.Errorf("panic: %w", err)
			} else {
				err = fmt.Errorf("panic: %v", v)
			}
		}
	}()
	return f(ctx)
}

// callbackGrace is how long a callback may take to return once its context has ended.
const callbackGrace = 100 * time.Millisecond
