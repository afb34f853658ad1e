package handoff

import (
	"context"
	"io"
)

// Section is a part of a program's state that moves to the successor with the sockets. Register it with
// [Generation.State], under a name that the successor uses too.
//
// A section is in one of two manners, or both. What Save writes moves in the gap of the switch: while it is called, and
// until the successor serves, no connection is accepted, every connection that package serve tracks is held between two
// requests, and those in flight have been waited for. So it is exact. What Ahead writes is sent before, while this
// generation serves; a section with both sends the bulk by Ahead and only the difference by Save. A section with Ahead
// alone moves without a gap.
type Section struct {
	// Save writes the section. Nil: the section has nothing that must be exact, and needs no gap.
	Save func(ctx context.Context, w io.Writer) error
	// Restore reads what the predecessor's Save wrote. It is called by Ready, before this generation owns; not if there is
	// no predecessor, or one without that section. r may be read from several goroutines by ReadAt, until Restore returns.
	Restore func(ctx context.Context, r *io.SectionReader) error

	// Ahead and RestoreAhead are the same for what is sent while the predecessor still serves. RestoreAhead is called
	// before Restore. Nil: nothing is.
	Ahead        func(ctx context.Context, w io.Writer) error
	RestoreAhead func(ctx context.Context, r *io.SectionReader) error

	// Hold stops what could change the section, but for connections that package serve tracks, and waits for what is under
	// way; it is called before Save. release undoes it if this generation serves on. Nil: there is nothing else.
	Hold func(ctx context.Context) (release func(), err error)

	// Revival is what becomes of the section if this generation takes the sockets back from a successor that has owned
	// them, and so may have changed the state, or acknowledged changes of it. Default: [RevivalForbid].
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
