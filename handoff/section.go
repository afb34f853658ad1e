package handoff

import (
	"context"
	"io"

	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/state"
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
	one := &state.Section{
		Name: name, Save: s.Save, Ahead: s.Ahead, Restore: s.Restore, RestoreAhead: s.RestoreAhead, Fresh: s.Fresh, Hold: s.Hold,
		Revival: state.Revival(s.Revival), Revived: s.Revived,
	}
	if err := one.Check(); err != nil {
		return err
	}
	if !s.Probation && (s.Save != nil || s.Ahead != nil) && (g.cfg.Probation > 0 || g.cfg.Check != nil) {
		return state.Refuse(name, "what is served before this generation confirms would be lost if it does not; set Section.Probation to "+
			"accept that, or neither Config.Probation nor Config.Check")
	}
	return g.driver.Register(one)
}

// host is how package serve adds a Holder to a generation: see [live.AddHolder]. What Run does depends on whether there are
// sections that move in the gap, so State comes before Run.
type host = live.Host

func (g *Generation) addHolder(h live.Holder) (exact bool, remove func()) {
	return g.driver.Sections.Exact(), g.driver.Conns.Exchange.AddHolder(h)
}
