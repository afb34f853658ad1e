package state

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// Receiver is the successor's side of moving state: between PREPARED and COMMIT it takes what the incumbent sends, and restores it
// in a goroutine of its own, so that the incumbent is heard meanwhile. One goroutine calls its methods.
type Receiver struct {
	// Committed is to be set by whoever has heard COMMIT.
	Committed bool

	set    *Set
	link   *link.Link
	moves  bool            // sections may come
	ctx    context.Context // of the callbacks, and of the wait for COMMIT
	cancel context.CancelCauseFunc
	stop   context.CancelFunc

	todo     chan delivery // has room for all that may come
	finished chan struct{} // nil until something has come
	err      error         // of the goroutine; valid once finished is closed

	ahead, gap chapter
}

// Receive begins to take sections from l, for at most patience; moves: they may come. Close follows.
func (set *Set) Receive(ctx context.Context, l *link.Link, moves bool, patience time.Duration) *Receiver {
	r := &Receiver{set: set, link: l, moves: moves, todo: make(chan delivery, 2*wire.MaxSections+2)}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.ctx, r.stop = context.WithTimeoutCause(r.ctx, patience, link.NoAnswer(patience))
	return r
}

// Context ends when nothing is to be received any more: when the time is over, or a section cannot be restored.
func (r *Receiver) Context() context.Context { return r.ctx }

// Open reports whether STATE has come, and SAVED has not.
func (r *Receiver) Open() bool { return r.ahead.open() || r.gap.open() }

// Take takes f, if it is about sections.
func (r *Receiver) Take(f link.Frame) (taken bool, err error) {
	switch m := f.Msg.(type) {
	case *wire.State:
		return true, r.add(m, f.Raw)
	case *wire.Saved:
		return true, r.saved(m)
	}
	return false, nil
}

// Came reports whether s is whole: an incumbent that commits has sent all that it has of it; of one that died, or left, what
// it saves in the gap is what it sends last.
func (r *Receiver) Came(s *Section) bool {
	ahead, gap := slices.Contains(r.ahead.names, s.Name), slices.Contains(r.gap.names, s.Name)
	if r.Committed {
		return ahead || gap
	}
	return gap || ahead && s.Restore == nil
}

// chapter is how far one of the two phases is.
type chapter struct {
	names []string // that have come
	saved bool     // no more will
}

func (c *chapter) open() bool { return len(c.names) > 0 && !c.saved }

// delivery is a section, or the end of a phase.
type delivery struct {
	section *Section
	file    *memfd // nil: the end of a phase
	ahead   bool
}

// Close ends the callbacks that still run, and closes what has not been restored.
func (r *Receiver) Close() {
	r.cancel(nil)
	r.stop()
	_ = r.Finish()
}

// Finish waits until all that came is restored, or cannot be. Nothing comes after it.
func (r *Receiver) Finish() error {
	if r.finished == nil {
		return nil
	}
	if r.todo != nil {
		close(r.todo)
		r.todo = nil
	}
	<-r.finished // it does not wait for callbacks once ctx has ended
	return r.err
}

// add takes a section's descriptor out of raw.
func (r *Receiver) add(m *wire.State, raw *fdpass.Message) error {
	c := r.chapter(m.Ahead)
	r.set.mu.Lock()
	s := r.set.find(m.Name)
	r.set.mu.Unlock()
	switch {
	case !r.moves || len(raw.FDs) != 1 || c.saved || slices.Contains(c.names, m.Name) || s == nil || s.fresh,
		m.Ahead && (s.RestoreAhead == nil || len(r.gap.names) > 0), !m.Ahead && r.ahead.open(),
		!m.Ahead && s.Restore == nil:
		return fmt.Errorf("%w: STATE %.64q with %d descriptors, which nobody expects", wire.ErrProtocol, m.Name, len(raw.FDs))
	}
	fd := raw.FDs[0]
	raw.FDs[0] = nil
	file, err := adoptMemfd(fd, m.Name, m.Size)
	if err != nil {
		return err
	}
	c.names = append(c.names, m.Name)
	r.pass(delivery{section: s, file: file, ahead: m.Ahead})
	return nil
}

func (r *Receiver) saved(m *wire.Saved) error {
	c := r.chapter(m.Ahead)
	if !c.open() {
		return fmt.Errorf("%w: SAVED without STATE", wire.ErrProtocol)
	}
	c.saved = true
	r.pass(delivery{ahead: m.Ahead})
	return nil
}

func (r *Receiver) chapter(ahead bool) *chapter {
	if ahead {
		return &r.ahead
	}
	return &r.gap
}

// pass gives a to the goroutine, which begins with the first.
func (r *Receiver) pass(a delivery) {
	if r.finished == nil {
		r.finished = make(chan struct{})
		todo := r.todo
		r.set.Go(func() {
			defer close(r.finished)
			for a := range todo {
				if r.err == nil {
					r.err = r.restore(a)
				}
				if a.file != nil {
					_ = a.file.Close() // also under a callback that goes on reading
				}
				if r.err != nil {
					r.cancel(r.err)
				}
			}
		})
	}
	r.todo <- a
}

// restore has the program read one section, or answers the end of a phase.
func (r *Receiver) restore(a delivery) error {
	if a.file == nil {
		err := r.link.Send(&wire.Restored{Ahead: a.ahead})
		if link.Over(err) {
			return nil // whoever waits for COMMIT finds out what that means
		}
		return err
	}
	what, f := "Restore", a.section.Restore
	if a.ahead {
		what, f = "RestoreAhead", a.section.RestoreAhead
	}
	begun := time.Now()
	err := r.set.call(r.ctx, a.section, what, func(ctx context.Context) error { return f(ctx, a.file.reader()) })
	r.set.tell(Moved{Section: a.section.Name, Restored: true, Ahead: a.ahead, Bytes: a.file.size, Err: err}, begun)
	return err
}

// Restorable is what the successor tells the incumbent about its sections.
func (set *Set) Restorable() (sections []wire.Section) {
	for _, s := range set.all() {
		if !s.exclusive() {
			sections = append(sections, wire.Section{Name: s.Name, Ahead: s.RestoreAhead != nil, Gap: s.Restore != nil})
		}
	}
	return sections
}

// Names has WELCOME say which sections the incumbent has, so that its successor knows early which will not come.
func (set *Set) Names(m *wire.Welcome) {
	for _, s := range set.all() {
		m.Sections = append(m.Sections, s.Name)
	}
	if _, err := wire.Encode(m); err != nil { // too long, with names that JSON makes long
		m.Sections = nil
	}
}
