package handoff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// restorer is the successor's side of moving state: between PREPARED and COMMIT it reads what the incumbent sends, in a
// goroutine of its own, so that the incumbent is heard meanwhile.
type restorer struct {
	g        *Generation
	p        *predecessor
	ctx      context.Context // of the callbacks, and of the wait for COMMIT
	cancel   context.CancelCauseFunc
	stop     context.CancelFunc
	deadline time.Time

	todo     chan delivery // has room for all that may come
	finished chan struct{} // nil until something has come
	err      error         // of the goroutine; valid once finished is closed

	ahead, gap chapter
	committed  bool // the incumbent has
}

// came reports whether s is whole: an incumbent that commits has sent all that it has of it; of one that died, or left, what
// it saves in the gap is what it sends last.
func (r *restorer) came(s *section) bool {
	ahead, gap := slices.Contains(r.ahead.names, s.name), slices.Contains(r.gap.names, s.name)
	if r.committed {
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
	section *section
	file    *memfd // nil: the end of a phase
	ahead   bool
}

// restorable is what this generation tells the incumbent about its sections.
func (g *Generation) restorable(p *predecessor) []wire.Section {
	if !p.state {
		return nil
	}
	var all []wire.Section
	for _, s := range g.sections { // complete since they were sealed
		if s.exclusive() {
			continue
		}
		all = append(all, wire.Section{Name: s.name, Ahead: s.RestoreAhead != nil, Gap: s.Restore != nil})
	}
	return all
}

// has reports whether s may come from p: not if p has no sections, or names those that it has, and s is none of them.
func (p *predecessor) has(s *section) bool {
	return p.state && p.stateWithin > 0 && (len(p.sections) == 0 || slices.Contains(p.sections, s.name))
}

// newRestorer is for one wait for COMMIT. end follows.
func (g *Generation) newRestorer(ctx context.Context, p *predecessor) *restorer {
	r := &restorer{g: g, p: p, todo: make(chan delivery, 2*wire.MaxSections+2)}
	patience := 3 * g.cfg.StepTimeout // the incumbent may have a predecessor of its own to release before
	patience += 2 * p.stateWithin     // also if nothing moves: it may have to hold what only one process may have
	r.deadline = time.Now().Add(patience)
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.ctx, r.stop = context.WithDeadlineCause(r.ctx, r.deadline,
		link.NoAnswer(patience))
	return r
}

// end ends the callbacks that still run, and closes what has not been restored.
func (r *restorer) end() {
	r.cancel(nil)
	r.stop()
	_ = r.finish()
}

// finish waits until all that came is restored, or cannot be. Nothing comes after it.
func (r *restorer) finish() error {
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

// awaitCommit waits for the permission to take the token: COMMIT, or the end of an incumbent whose heir this is. It reports
// that, or why there is none.
func (r *restorer) awaitCommit() cue {
	p := r.p
	for {
		f, err := p.link.Recv(r.ctx, 0)
		if errors.Is(err, os.ErrDeadlineExceeded) && (r.ahead.open() || r.gap.open()) {
			err = fmt.Errorf("STATE came, and SAVED did not: %w", err)
		}
		if err != nil {
			return r.ended(err)
		}
		switch m := f.Msg.(type) {
		case *wire.State:
			err = r.add(m, f.Raw)
		case *wire.Saved:
			err = r.saved(m)
		default:
			f.Raw.Close()
			_, r.committed = m.(*wire.Commit)
			if r.committed && (r.ahead.open() || r.gap.open()) {
				return cue{event: succession.GiveUp, cause: fmt.Errorf("%w: COMMIT before SAVED", ErrProtocol)}
			}
			return p.cue(f)
		}
		f.Raw.Close()
		if err != nil {
			return cue{event: succession.GiveUp, cause: err}
		}
	}
}

// ended says why nothing more can be received.
func (r *restorer) ended(err error) cue {
	switch {
	case link.Over(err):
		return r.p.ended(err)
	case errors.Is(context.Cause(r.ctx), os.ErrDeadlineExceeded):
		return cue{event: succession.TooLate, cause: err}
	default: // a section cannot be restored, Ready's context has ended, or the frame was malformed
		return cue{event: succession.GiveUp, cause: err}
	}
}

// add takes a section's descriptor out of raw.
func (r *restorer) add(m *wire.State, raw *fdpass.Message) error {
	c := r.chapter(m.Ahead)
	i := slices.IndexFunc(r.g.sections, func(s *section) bool { return s.name == m.Name })
	switch {
	case !r.p.state || len(raw.FDs) != 1 || c.saved || slices.Contains(c.names, m.Name) || i < 0 || r.g.sections[i].fresh,
		m.Ahead && (r.g.sections[i].RestoreAhead == nil || len(r.gap.names) > 0), !m.Ahead && r.ahead.open(),
		!m.Ahead && r.g.sections[i].Restore == nil:
		return fmt.Errorf("%w: STATE %.64q with %d descriptors, which nobody expects", ErrProtocol, m.Name, len(raw.FDs))
	}
	fd := raw.FDs[0]
	raw.FDs[0] = nil
	file, err := adoptMemfd(fd, m.Name, m.Size)
	if err != nil {
		return err
	}
	c.names = append(c.names, m.Name)
	r.pass(delivery{section: r.g.sections[i], file: file, ahead: m.Ahead})
	return nil
}

func (r *restorer) saved(m *wire.Saved) error {
	c := r.chapter(m.Ahead)
	if !c.open() {
		return fmt.Errorf("%w: SAVED without STATE", ErrProtocol)
	}
	c.saved = true
	r.pass(delivery{ahead: m.Ahead})
	return nil
}

func (r *restorer) chapter(ahead bool) *chapter {
	if ahead {
		return &r.ahead
	}
	return &r.gap
}

// pass gives a to the goroutine, which begins with the first.
func (r *restorer) pass(a delivery) {
	if r.finished == nil {
		r.finished = make(chan struct{})
		todo := r.todo
		r.g.task(func() {
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
func (r *restorer) restore(a delivery) error {
	if a.file == nil {
		err := r.p.link.Send(&wire.Restored{Ahead: a.ahead})
		if link.Over(err) {
			return nil // whoever waits for COMMIT finds out what that means
		}
		return err
	}
	what, f := "Restore", a.section.Restore
	if a.ahead {
		what, f = "RestoreAhead", a.section.RestoreAhead
	}
	return r.g.callBack(r.ctx, a.section, what, func(ctx context.Context) error { return f(ctx, a.file.reader()) })
}
