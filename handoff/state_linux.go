package handoff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// This is the incumbent's side of moving state; restore_linux.go is the successor's.

// sectionsMoving are those of one attempt.
type sectionsMoving struct {
	ahead []*section // sent while this generation serves
	exact []*section // saved in the gap
	held  held
}

// agree finds out which sections move: those that the successor can restore.
func (a *attempt) agree(theirs []wire.Section) error {
	if !slices.Contains(a.features, featureState) {
		theirs = nil
	}
	for _, s := range a.g.sections { // complete since Ready
		if s.exclusive() {
			continue // it is held, whatever the successor knows of it
		}
		i := slices.IndexFunc(theirs, func(t wire.Section) bool { return t.Name == s.name })
		switch {
		case i < 0:
			a.g.log.Warn("the successor does not know this section of state; it is not moved", "section", s.name)
			continue
		case s.Ahead != nil && !theirs[i].Ahead:
			return &sectionError{s.name, "agree", fmt.Errorf("%w: the successor cannot restore what is sent ahead: it has no RestoreAhead", ErrSection)}
		case s.Save != nil && !theirs[i].Gap:
			return &sectionError{s.name, "agree", fmt.Errorf("%w: the successor cannot restore what is saved: it has no Restore", ErrSection)}
		}
		if s.Ahead != nil {
			a.sections.ahead = append(a.sections.ahead, s)
		}
		if s.Save != nil {
			a.sections.exact = append(a.sections.exact, s)
		}
	}
	return nil
}

// nameSections has WELCOME say which sections this generation has, so that the successor knows early which will not come.
func (a *attempt) nameSections(m *wire.Welcome) {
	if !slices.Contains(a.features, featureState) {
		return
	}
	for _, s := range a.g.sections { // complete since Ready
		m.Sections = append(m.Sections, s.name)
	}
	if _, err := wire.Encode(m); err != nil { // too long, with names that JSON makes long
		m.Sections = nil
	}
}

// stateWithin is what WELCOME says of the time that sections may take.
func (g *Generation) stateWithin() int64 {
	if len(g.sections) == 0 {
		return 0
	}
	return max(g.cfg.StateTimeout.Milliseconds(), 1)
}

// sendAhead moves what need not be exact, while this generation serves.
func (a *attempt) sendAhead(ctx context.Context) error {
	if len(a.sections.ahead) == 0 {
		return nil
	}
	t := &transfer{a: a, ahead: true}
	return t.run(ctx, func(ctx context.Context) error {
		for _, s := range a.sections.ahead {
			if err := t.send(ctx, s, "Ahead", s.Ahead); err != nil {
				return err
			}
		}
		return nil
	})
}

// pauseAndSave pauses the sockets, holds all that changes the exact sections, and moves them. On an error the caller
// takes back, which also lets go of what is held. What only one process may have is held first, then connections that
// serve knows: that may take as long as the slowest request, and meanwhile all is served on, new connections too.
func (a *attempt) pauseAndSave(ctx context.Context) error {
	if len(a.sections.exact) == 0 {
		err := a.holdExclusive(ctx)
		if err == nil {
			err = a.unchanged()
		}
		if err != nil {
			return err
		}
		return a.manifest.Pause()
	}
	t := &transfer{a: a}
	err := t.run(ctx, func(ctx context.Context) error {
		if err := t.hold(ctx); err != nil {
			return err
		}
		for _, s := range a.sections.exact {
			if err := t.send(ctx, s, "Save", s.Save); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.unchanged()
}

// holdExclusive holds what only one process may have, until the attempt has failed.
func (a *attempt) holdExclusive(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(a.g.ctx, func() { cancel(context.Cause(a.g.ctx)) })()
	return a.g.holdExclusive(ctx, a.sections.held.add)
}

// unchanged is for when saving or holding took a while, in which the program could close sockets.
func (a *attempt) unchanged() error {
	g := a.g
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closing:
		return net.ErrClosed
	case a.manifest.Changed():
		return ErrChanged
	}
	return nil
}

// transfer is one phase in which sections move.
type transfer struct {
	a     *attempt
	ahead bool
	at    atomic.Value // string: what is waited for
}

// run calls work, which sends sections, says that this was all, and waits until the successor has restored them: all
// within the bound of Config, or until ctx ends, this generation is closed, or the successor ends or gives up.
func (t *transfer) run(ctx context.Context, work func(context.Context) error) error {
	g := t.a.g
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(g.ctx, func() { cancel(context.Cause(g.ctx)) })()
	ctx, stop := g.stateTime(ctx)
	defer stop()
	begin := time.Now()
	saved, finished := newEvent(), make(chan struct{})
	var failed error // of work, once finished
	t.at.Store("the sections")
	g.task(func() {
		defer close(finished)
		err := work(ctx)
		if err == nil {
			t.at.Store("the successor's Restore")
			saved.happen()
			err = t.a.link.Send(&wire.Saved{Ahead: t.ahead})
		}
		if failed = err; err != nil {
			cancel(err)
		}
	})
	m, err := link.Expect[*wire.Restored](ctx, t.a.link, 0)
	if err == nil && (m.Ahead != t.ahead || !saved.happened()) {
		err = fmt.Errorf("%w: RESTORED before all was saved", ErrProtocol)
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
	g.log.Info("state moved", "ahead", t.ahead, "took", time.Since(begin).Round(time.Microsecond))
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
func (t *transfer) hold(ctx context.Context) error {
	g, h := t.a.g, &t.a.sections.held
	if err := t.a.holdExclusive(ctx); err != nil {
		return err
	}
	t.at.Store("holding connections between requests")
	h.connections = true
	if err := g.conns.Exchange.Hold(ctx); err != nil {
		return fmt.Errorf("%w: %w", errHold, err)
	}
	t.at.Store("pausing the sockets")
	if err := t.a.manifest.Pause(); err != nil {
		return err
	}
	for _, s := range t.a.sections.exact {
		if s.Hold == nil {
			continue
		}
		t.at.Store(fmt.Sprintf("section %q: Hold", s.name))
		if err := g.hold(ctx, s, h.add); err != nil {
			return err
		}
	}
	return nil
}

// saver is Section.Save or Section.Ahead.
type saver = func(context.Context, io.Writer) error

// send sends one section.
func (t *transfer) send(ctx context.Context, s *section, what string, save saver) error {
	t.at.Store(fmt.Sprintf("section %q: %s", s.name, what))
	m, err := t.a.g.writeMemfd(ctx, s, what, save)
	if err != nil {
		return err
	}
	defer m.Close()
	if ctx.Err() != nil {
		return context.Cause(ctx) // the successor may have been told that it is over
	}
	return t.a.link.Send(&wire.State{Name: s.name, Size: m.size, Ahead: t.ahead}, m)
}

// held is what is stopped while state moves.
type held struct {
	connections bool

	mu       sync.Mutex
	over     bool
	releases []func()
}

// add keeps release, or calls it if it comes too late.
func (h *held) add(release func()) {
	h.mu.Lock()
	over := h.over
	if !over {
		h.releases = append(h.releases, release)
	}
	h.mu.Unlock()
	if over {
		release()
	}
}

// letGo calls what undoes the holds.
func (h *held) letGo() {
	h.mu.Lock()
	releases := h.releases
	h.over, h.releases = true, nil
	h.mu.Unlock()
	for _, release := range slices.Backward(releases) {
		release()
	}
}

// letGo undoes all holds: this generation serves on.
func (m *sectionsMoving) letGo(g *Generation) {
	m.held.letGo()
	if m.held.connections {
		m.held.connections = false
		g.conns.Exchange.Resume()
	}
}
