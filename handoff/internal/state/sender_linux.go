package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// Sender is the incumbent's side of one attempt. Its exported fields are set before Agree. One goroutine calls its methods, one
// at a time.
type Sender struct {
	Set      *Set
	Link     *link.Link
	Spares   *spares.Pool // for the memory in which a section travels
	Requests Requests     // what is held around the exact sections

	ahead        []*Section // sent while this generation serves
	exact        []*Section // saved in the gap
	held         Held
	heldRequests bool
}

// Requests stops the requests of the servers that a generation knows.
type Requests interface {
	Hold(context.Context) error // until Resume, whether it fails or not
	Resume()
}

// Agree finds out which sections move: those that the successor can restore, as it says in theirs.
func (m *Sender) Agree(theirs []wire.Section) error {
	for _, s := range m.Set.all() {
		if s.exclusive() {
			continue // it is held, whatever the successor knows of it
		}
		i := slices.IndexFunc(theirs, func(t wire.Section) bool { return t.Name == s.Name })
		switch {
		case i < 0:
			m.Set.Log().Warn("the successor does not know this section of state; it is not moved", "section", s.Name)
			continue
		case s.Ahead != nil && !theirs[i].Ahead:
			return &sectionError{s.Name, "agree", fmt.Errorf("%w: the successor cannot restore what is sent ahead: it has no RestoreAhead", ErrSection)}
		case s.Save != nil && !theirs[i].Gap:
			return &sectionError{s.Name, "agree", fmt.Errorf("%w: the successor cannot restore what is saved: it has no Restore", ErrSection)}
		}
		if s.Ahead != nil {
			m.ahead = append(m.ahead, s)
		}
		if s.Save != nil {
			m.exact = append(m.exact, s)
		}
	}
	return nil
}

// Exact reports whether there is something to Save.
func (m *Sender) Exact() bool { return len(m.exact) > 0 }

// SendAhead moves what need not be exact, while this generation serves.
func (m *Sender) SendAhead(ctx context.Context) error {
	if len(m.ahead) == 0 {
		return nil
	}
	t := &transfer{Sender: m, ahead: true}
	return t.run(ctx, func(ctx context.Context) error {
		for _, s := range m.ahead {
			if err := t.send(ctx, s, "Ahead", s.Ahead); err != nil {
				return err
			}
		}
		return nil
	})
}

// Save holds all that changes the exact sections, pauses the sockets by pause, and moves the sections. On an error the caller calls
// Release. What only one process may have is held first, then the requests: that may take as long as the slowest of
// them, and meanwhile all is served on, new connections too.
func (m *Sender) Save(ctx context.Context, pause func() error) error {
	t := &transfer{Sender: m}
	return t.run(ctx, func(ctx context.Context) error {
		if err := t.hold(ctx, pause); err != nil {
			return err
		}
		for _, s := range m.exact {
			if err := t.send(ctx, s, "Save", s.Save); err != nil {
				return err
			}
		}
		return nil
	})
}

// HoldExclusive holds what only one process may have, until Release.
func (m *Sender) HoldExclusive(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(m.Set.Life, func() { cancel(context.Cause(m.Set.Life)) })()
	return m.Set.HoldExclusive(ctx, m.held.Add)
}

// transfer is one phase in which sections move.
type transfer struct {
	*Sender
	ahead bool
	at    atomic.Value // string: what is waited for
}

// run calls work, which sends sections, says that this was all, and waits until the successor has restored them: all
// within the bound of Config, or until ctx ends, this generation is closed, or the successor ends or gives up.
func (t *transfer) run(ctx context.Context, work func(context.Context) error) error {
	set := t.Set
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(set.Life, func() { cancel(context.Cause(set.Life)) })()
	ctx, stop := set.bound(ctx)
	defer stop()
	begin := time.Now()
	finished := make(chan struct{})
	var saved atomic.Bool
	var failed error // of work, once finished
	t.at.Store("the sections")
	set.Go(func() {
		defer close(finished)
		err := work(ctx)
		if err == nil {
			t.at.Store("the successor's Restore")
			saved.Store(true)
			err = t.Link.Send(&wire.Saved{Ahead: t.ahead})
		}
		if failed = err; err != nil {
			cancel(err)
		}
	})
	m, err := link.Expect[*wire.Restored](ctx, t.Link, 0)
	if err == nil && (m.Ahead != t.ahead || !saved.Load()) {
		err = fmt.Errorf("%w: RESTORED before all was saved", wire.ErrProtocol)
	}
	if err != nil {
		cancel(err)
	}
	<-finished // which does not wait for callbacks once ctx has ended
	if err != nil && errors.Is(failed, errHold) && !errors.Is(err, errHold) {
		err = fmt.Errorf("%w: %w", failed, err) // the time is up: failed says who has used it
	}
	if err != nil {
		return t.failed(err)
	}
	set.Log().Info("state moved", "ahead", t.ahead, "took", time.Since(begin).Round(time.Microsecond))
	return nil
}

// failed says what the phase was at, unless err does.
func (t *transfer) failed(err error) error {
	if isSection(err) {
		return err
	}
	return fmt.Errorf("%w: at %s: %w", ErrState, t.at.Load(), err)
}

// errHold: package serve cannot stop the requests.
var errHold = errors.New("connections cannot be held between requests")

// hold stops what could change a section.
func (t *transfer) hold(ctx context.Context, pause func() error) error {
	if err := t.HoldExclusive(ctx); err != nil {
		return err
	}
	t.at.Store("holding connections between requests")
	t.heldRequests = true
	if err := t.Requests.Hold(ctx); err != nil {
		return fmt.Errorf("%w: %w", errHold, err)
	}
	t.at.Store("pausing the sockets")
	if err := pause(); err != nil {
		return err
	}
	for _, s := range t.exact {
		if s.Hold == nil {
			continue
		}
		t.at.Store(fmt.Sprintf("section %q: Hold", s.Name))
		if err := t.Set.hold(ctx, s, t.held.Add); err != nil {
			return err
		}
	}
	return nil
}

// saver is Section.Save or Section.Ahead.
type saver = func(context.Context, io.Writer) error

// send sends one section.
func (t *transfer) send(ctx context.Context, s *Section, what string, save saver) error {
	t.at.Store(fmt.Sprintf("section %q: %s", s.Name, what))
	begun := time.Now()
	m, err := t.Set.writeMemfd(ctx, t.Spares, s, what, save)
	if err != nil {
		t.Set.tell(Moved{Section: s.Name, Ahead: t.ahead, Err: err}, begun)
		return err
	}
	t.Set.tell(Moved{Section: s.Name, Ahead: t.ahead, Bytes: m.size}, begun)
	defer m.Close()
	if ctx.Err() != nil {
		return context.Cause(ctx) // the successor may have been told that it is over
	}
	return t.Link.Send(&wire.State{Name: s.Name, Size: m.size, Ahead: t.ahead}, m)
}

// Release undoes all holds: this generation serves on.
func (m *Sender) Release() {
	m.held.Release()
	if m.heldRequests {
		m.heldRequests = false
		m.Requests.Resume()
	}
}

// Revive does what the sections that have moved say of a revival. The error is [ErrStale].
func (m *Sender) Revive() error {
	for _, s := range m.exact {
		if s.Revival == RevivalForbid {
			return fmt.Errorf("%w: section %q", ErrStale, s.Name)
		}
	}
	if len(m.ahead) == 0 && len(m.exact) == 0 {
		return nil
	}
	ctx, cancel := m.Set.bound(m.Set.Life)
	defer cancel()
	for _, s := range m.Set.all() {
		if s.Revival != RevivalCall || !slices.Contains(m.ahead, s) && !slices.Contains(m.exact, s) {
			continue
		}
		if err := m.Set.call(ctx, s, "Revived", s.Revived); err != nil {
			return fmt.Errorf("%w: %w", ErrStale, err)
		}
	}
	return nil
}

// Early reports whether there is something to SendAhead.
func (m *Sender) Early() bool { return len(m.ahead) > 0 }
