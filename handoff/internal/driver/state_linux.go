package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/state"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// This is what the driver of either side has to do with sections; package state moves them.

// agree finds out which sections move. theirs are the sections that the successor can restore.
func (a *attempt) agree(theirs []wire.Section) error {
	if !slices.Contains(a.features, featureState) {
		theirs = nil
	}
	a.sections.Set, a.sections.Link, a.sections.Spares, a.sections.Requests = &a.d.Sections, a.link, &a.d.spares, &a.d.Conns.Exchange
	return a.sections.Agree(theirs)
}

// stateWithin is what WELCOME says of the time that sections may take.
func (d *Driver) stateWithin() int64 {
	if d.Sections.Len() == 0 {
		return 0
	}
	return max(d.cfg.StateTimeout.Milliseconds(), 1)
}

// pauseAndSave pauses the sockets, and moves the exact sections in the gap, if there are any. On an error the caller takes
// back, which also lets go of what is held.
func (a *attempt) pauseAndSave(ctx context.Context) error {
	pause := func() error {
		a.rec.stageEnds(timeline.StagePrepare)
		err := a.manifest.Pause()
		a.rec.paused()
		return err
	}
	if a.sections.Exact() {
		if err := a.sections.Save(ctx, pause); err != nil {
			return err
		}
		return a.unchanged()
	}
	if err := a.sections.HoldExclusive(ctx); err != nil {
		return err
	}
	if err := a.unchanged(); err != nil {
		return err
	}
	return pause()
}

// unchanged looks again at what was agreed: while sections were saved or held, the program could close sockets.
func (a *attempt) unchanged() error {
	d := a.d
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.endsLocked():
		return net.ErrClosed
	case a.manifest.Changed():
		return ErrChanged
	}
	return nil
}

// mayHave reports whether s may come from p. It cannot if p has no sections, and if p names its sections and s is not among them.
func (p *predecessor) mayHave(s *state.Section) bool {
	return p.state && p.stateWithin > 0 && (len(p.sections) == 0 || slices.Contains(p.sections, s.Name))
}

// receiveSections is for one wait for COMMIT.
func (p *predecessor) receiveSections() *state.Receiver {
	patience := 3 * p.d.cfg.StepTimeout // the incumbent may have a predecessor of its own to release before
	patience += 2 * p.stateWithin       // also if nothing moves: it may have to hold what only one process may have
	return p.d.Sections.Receive(p.ready, p.link, p.state, patience)
}

// awaitPermission waits for the permission to take the token: COMMIT, or the end of an incumbent whose heir this is. It reports
// that, or why there is none. Meanwhile r takes sections.
func (p *predecessor) awaitPermission(r *state.Receiver) input {
	for {
		f, err := p.link.Recv(r.Context(), 0)
		if errors.Is(err, os.ErrDeadlineExceeded) && r.Open() {
			err = fmt.Errorf("STATE came, and SAVED did not: %w", err)
		}
		if err != nil {
			return p.noPermission(r, err)
		}
		taken, err := r.Take(f)
		f.Raw.Close()
		switch {
		case err != nil:
			return input{event: succession.GiveUp, cause: err}
		case taken:
			continue
		}
		_, r.Committed = f.Msg.(*wire.Commit)
		if r.Committed && r.Open() {
			return input{event: succession.GiveUp, cause: fmt.Errorf("%w: COMMIT before SAVED", link.ErrProtocol)}
		}
		return p.input(f)
	}
}

// noPermission says why nothing more can be received.
func (p *predecessor) noPermission(r *state.Receiver, err error) input {
	switch {
	case link.Over(err):
		return p.ended(err)
	case errors.Is(context.Cause(r.Context()), os.ErrDeadlineExceeded):
		return input{event: succession.TooLate, cause: err}
	default: // a section cannot be restored, Ready's context has ended, or the frame was malformed
		return input{event: succession.GiveUp, cause: err}
	}
}

// endStale ends this generation, which nobody else succeeds: its state is behind.
func (d *Driver) endStale(err error) {
	d.mu.Lock()
	d.stale, d.whyOver, d.lastError = err, err, failed("upgrade", d.phase, err)
	s := d.superseding
	d.mu.Unlock()
	d.log.Error("this generation ends: its state is behind what its successor had made of it; start it anew", "error", err)
	s.end(state.ErrStale)
	d.stop()
}
