package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/token"
	"github.com/segue-go/segue/handoff/internal/transport"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
	"github.com/segue-go/segue/listener"
)

// awaitReady waits until this generation owns, if the successor was quicker to say HELLO.
func (a *attempt) awaitReady(ctx context.Context) error {
	d := a.d
	if !d.started.happened() {
		if err := a.link.Send(&wire.Wait{Phase: succession.PhaseStarting.String()}); err != nil {
			return err
		}
		if err := a.awaitStarted(ctx); err != nil {
			return err
		}
	}
	return d.beginOffering()
}

// beginOffering begins an attempt, if this generation owns.
func (d *Driver) beginOffering() error {
	d.mu.Lock()
	switch d.phase {
	case succession.PhaseOffering: // since it was started
		d.mu.Unlock()
		return nil
	case succession.PhaseServing:
		begun := d.asIncumbentLocked(succession.Begin)
		d.mu.Unlock()
		d.report(begun)
		return nil
	default:
		d.mu.Unlock()
		return ErrNotOwner
	}
}

// errStarted ends the wait of awaitStarted.
var errStarted = errors.New("this generation has started")

// awaitStarted waits until this generation owns, or never will, and for a successor that gives up before.
func (a *attempt) awaitStarted(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-a.d.started.c:
			cancel(errStarted)
		case <-ctx.Done():
		}
	}()
	f, err := a.link.Recv(ctx, 0)
	cancel(nil)
	<-watched
	switch {
	case err == nil:
		f.Raw.Close()
		return a.link.Unexpected(f.Msg)
	case errors.Is(err, errStarted):
		return nil
	default:
		return err
	}
}

// offer sends WELCOME and the manifest with its descriptors, one batch in flight at a time: the kernel bounds how many
// may be in flight (ETOOMANYREFS, unix(7)).
func (a *attempt) offer(ctx context.Context) error {
	d := a.d
	d.keeper.Keep(false)
	var tok token.Token
	var err error
	err = d.spares.Do(1, 1, func() (err error) {
		tok, err = token.New()
		return err
	})
	if err != nil {
		return err
	}
	a.token = tok
	d.mu.Lock()
	number := d.number + 1
	manifest := d.Sockets.Manifest(d.keeper.Socket())
	a.manifest = &manifest
	d.mu.Unlock()
	items, fds := a.manifest.Items()
	if c := a.child; a.kind == kindChild {
		if c.Stdout != nil {
			items, fds = append(items, wire.Item{Name: "stdout", Kind: wire.KindStdout}), append(fds, c.Stdout)
		}
		if c.Stderr != nil {
			items, fds = append(items, wire.Item{Name: "stderr", Kind: wire.KindStderr}), append(fds, c.Stderr)
		}
	}
	a.items = len(items)
	a.heir = d.isFirstOrReleased() && !a.hello.DryRun
	welcome := &wire.Welcome{
		Version: a.version, Features: a.features, Generation: number, Name: a.d.origin.Name(), PID: os.Getpid(), Heir: a.heir,
		StateWithin: d.stateWithin(),
	}
	if a.reportsNow.Load() && a.rec != nil {
		welcome.Handoff = a.rec.id
	}
	if slices.Contains(a.features, featureState) {
		d.Sections.Names(welcome)
	}
	pull, err := transport.Agreed(a.features, d.cfg.PullOnly, a.link)
	if err != nil {
		return err
	}
	sender := &transport.Sender{
		Link: a.link, Spares: &d.spares, Log: d.log, Pull: pull, Only: d.cfg.PullOnly, Owe: a.owe,
	}
	if err := sender.Welcome(ctx, welcome, tok); err != nil {
		return err
	}
	if pull {
		transport.Reserve(items)
	}
	offers, err := wire.Offers(items)
	if err != nil {
		return err
	}
	if err := sender.Prove(ctx, offers); err != nil {
		return err
	}
	for _, o := range offers {
		n := len(o.Items)
		if err := sender.Offer(ctx, o, fds[:n]); err != nil {
			return err
		}
		fds = fds[n:]
	}
	a.offerTaken = true
	a.pulled = sender.Pull
	return nil
}

// prepared waits for one PREPARED. The deadline is that of all of them.
func (a *attempt) prepared(ctx context.Context, deadline time.Time, patience time.Duration) (*wire.Prepared, error) {
	f, err := a.link.RecvBy(ctx, deadline, patience)
	if err != nil {
		return nil, err
	}
	return link.MessageOf[*wire.Prepared](a.link, f)
}

// awaitReceipts waits for Ready in the successor, and compares what it has with what was sent.
func (a *attempt) awaitReceipts(ctx context.Context) error {
	patience := a.d.cfg.ReadyTimeout
	deadline := time.Now().Add(patience)
	var receipts []wire.Receipt
	var sections []wire.Section
	for batch, last := 0, false; !last; batch++ {
		m, err := a.prepared(ctx, deadline, patience)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && batch > 0:
			return fmt.Errorf("PREPARED %d came without \"last\", and no other within %v: %w", batch-1, patience, os.ErrDeadlineExceeded)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("the successor did not become ready: %w", err)
		case err != nil:
			return fmt.Errorf("while it prepared: %w", err)
		}
		if batch == 0 {
			a.rec.stageEnds(timeline.StageWarmup)
			a.rec.stage(timeline.StagePrepare)
		}
		if m.Batch != batch || len(receipts)+len(m.Receipts) > wire.MaxSockets {
			return fmt.Errorf("%w: PREPARED %d, not %d", link.ErrProtocol, m.Batch, batch)
		}
		if len(sections)+len(m.Sections) > wire.MaxSections {
			return fmt.Errorf("%w: more than %d sections", link.ErrProtocol, wire.MaxSections)
		}
		receipts, sections = append(receipts, m.Receipts...), append(sections, m.Sections...)
		last, a.confirmWithin = m.Last, time.Duration(min(m.ConfirmWithin, MaxConfirm.Milliseconds()))*time.Millisecond
	}
	if len(receipts) != a.items {
		return fmt.Errorf("%w: %d receipts for %d items", link.ErrProtocol, len(receipts), a.items)
	}
	claimed := make([]bool, a.manifest.Len())
	for i, s := range a.manifest.Sockets() {
		info, err := listener.Describe(s)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrChanged, s.Name(), err)
		}
		want := sockets.Receipt(info)
		want.Item, want.Claimed = i, receipts[i].Claimed
		if got := receipts[i]; got != want {
			return fmt.Errorf("%w: the receipt for %s does not match: got %+v, want %+v", link.ErrProtocol, s.Name(), got, want)
		}
		claimed[i] = want.Claimed
	}
	a.manifest.Claim(claimed)
	return a.agree(sections)
}
