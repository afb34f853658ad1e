package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/migrate"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/rendezvous"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/token"
	"github.com/segue-go/segue/handoff/internal/transport"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
	"github.com/segue-go/segue/listener"
)

// predecessor is the generation that this one succeeds.
type predecessor struct {
	d         *Driver
	link      *link.Link
	token     ownership // of no token until WELCOME
	receiver  *transport.Receiver
	ready     context.Context // of the call of Ready
	state     bool            // sections may move
	heir      bool            // nobody before it can be revived: if it ends, the sockets are ours
	checks    bool            // it ends a dry run when it has compared the receipts
	offer     []offeredItem   // by place in the offer
	netns     uint64          // of this process; 0: not asked yet, or unknown
	netnsTold bool            // the operator knows that a socket is of another one
	claimed   []bool          // by place in the offer: what the program had asked for when the receipts were sent
	watched   chan struct{}
	unwatch   context.CancelCauseFunc
	whyOver   error // why it is no use to call Ready; valid once watched is closed
	left      bool  // it stopped for good, and left the sockets to this generation, its heir

	sections    []string      // that it has; none: unknown, if stateWithin is not 0
	stateWithin time.Duration // how long sections may take, in each phase

	cause   timeline.Cause
	rec     *record
	reports atomic.Bool // they agreed on reports

	hungUp, closed sync.Once
	in             *migrate.Inflow // of live connections; nil if none move

	returns bool // they go back with the sockets
	retires bool // it ends its drain when it is asked

	released event // it will never be revived, or there is no such process any more
	gone     event // its link is closed
}

// offeredItem is one thing that came with an offer, as it was identified on arrival.
type offeredItem struct {
	item wire.Item
	info listener.Info
}

// hangUp ends the link. What becomes of the process at its other end can still be seen.
func (p *predecessor) hangUp() {
	p.hungUp.Do(func() {
		p.gone.happen()
		p.predecessorGone()
		p.token.Close()
		p.link.HangUp()
	})
}

// close frees everything. Nothing waits for this predecessor any more.
func (p *predecessor) close() {
	p.closed.Do(func() {
		p.released.happen()
		p.hangUp()
		p.link.Close()
	})
}

// succeed makes this generation the successor of whoever is at the other end of conn, which it takes; cause is how it came to be. On
// return it holds all that was offered.
func (d *Driver) succeed(ctx context.Context, conn *net.UnixConn, cause timeline.Cause) error {
	options := d.linkOptions("incumbent", false)
	pidfds, err := peer.PassCred(conn)
	if err == nil && !pidfds {
		if options.Expect, err = rendezvous.IncumbentOf(conn); errors.Is(err, peer.ErrGone) {
			err = nil // whoever has its rendezvous now speaks
		}
	}
	if err != nil {
		_ = conn.Close()
		return err
	}
	p := &predecessor{
		d:        d,
		cause:    cause,
		token:    token.Token{},
		released: newEvent(),
		gone:     newEvent(),
		watched:  make(chan struct{}),
	}
	options.Aside = p.heard
	p.link = link.New(conn, options)
	err = p.beWelcomed(ctx)
	if err == nil {
		err = p.takeOffers(ctx)
	}
	if err == nil {
		p.arrived()
	}
	if err != nil {
		p.fails(timeline.Failed, err, false)
		if !link.Over(err) {
			_ = p.link.Send(&wire.Failed{Reason: err.Error()})
		}
		p.close()
		return err
	}
	d.mu.Lock()
	d.predecessor = p
	d.Conns.Succeeds(p.gone.c)
	d.toPredecessor = succession.Preparing
	if p.heir {
		d.toPredecessor = succession.PreparingHeir
	}
	d.mu.Unlock()
	watch, unwatch := context.WithCancelCause(d.ctx)
	p.unwatch = unwatch
	d.task(func() { p.watch(watch) })
	return nil
}

// beWelcomed says HELLO and waits for WELCOME from a process that is authorized.
func (p *predecessor) beWelcomed(ctx context.Context) error {
	d := p.d
	l := p.link
	err := l.Send(&wire.Hello{Versions: wire.Versions(), Features: d.features(), Name: d.origin.Name(), PID: os.Getpid(), DryRun: d.cfg.DryRun != ""})
	if err != nil && !link.Over(err) { // an incumbent that hangs up before that may have said why
		return err
	}
	patience, begun, waits := d.cfg.StepTimeout, time.Now(), false
	for {
		f, err := l.RecvBy(ctx, begun.Add(patience), patience)
		switch {
		case err != nil && link.Over(err):
			return rendezvous.ErrLeft
		case context.Cause(ctx) != nil && err != nil:
			return err
		case errors.Is(err, os.ErrDeadlineExceeded) && waits:
			return fmt.Errorf("the incumbent is there, but has not become ready itself: %w", err)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("%w: %w", rendezvous.ErrSilent, err)
		case err != nil:
			return err
		}
		switch m := f.Msg.(type) {
		case *wire.Wait:
			f.Raw.Close()
			if !waits { // once: it could go on to say so
				d.log.Info("the incumbent is not ready yet; waiting", "phase", m.Phase)
				patience, begun, waits = d.cfg.ReadyTimeout, time.Now(), true
			}
		case *wire.Welcome:
			err := p.welcome(f, m)
			f.Raw.Close()
			return err
		case *wire.Busy:
			f.Raw.Close()
			return &BusyError{PID: m.PID, Name: m.Name, Phase: m.Phase}
		case *wire.Refuse:
			f.Raw.Close()
			if m.Code == wire.CodeStopping {
				return rendezvous.ErrLeft
			}
			return l.Unexpected(m)
		default:
			f.Raw.Close()
			return l.Unexpected(m)
		}
	}
}

func (p *predecessor) welcome(f link.Frame, m *wire.Welcome) (err error) {
	d := p.d
	if p.link.Peer, err = d.introduce(p.link, f); err != nil {
		return err
	}
	if err := p.link.Introduced(); err != nil {
		return err
	}
	p.receiver = &transport.Receiver{Link: p.link, Only: d.cfg.PullOnly}
	tok, err := p.receiver.Token(f, m)
	if err != nil {
		return err
	}
	p.token = tok
	if !slices.Contains(wire.Versions(), m.Version) {
		return fmt.Errorf("%w: WELCOME to version %d, we speak %v", link.ErrVersion, m.Version, wire.Versions())
	}
	p.heir = m.Heir && d.cfg.DryRun == "" // which never takes the sockets
	p.checks = slices.Contains(m.Features, featureDryRun)
	if slices.Contains(m.Features, featureConns) {
		p.returns = slices.Contains(m.Features, featureReturn)
		p.in = d.Conns.From(p.link, d.inheritedPlaces())
	}
	p.state = slices.Contains(m.Features, featureState)
	p.retires = slices.Contains(m.Features, featureRetire)
	p.sections = m.Sections
	p.stateWithin = min(time.Duration(m.StateWithin)*time.Millisecond, MaxState)
	if p.receiver.Pull, err = transport.Agreed(m.Features, p.receiver.Only, p.link); err != nil {
		return err
	}
	d.mu.Lock()
	d.number = m.Generation
	d.numberNow.Store(int64(m.Generation))
	d.mu.Unlock()
	d.log = d.cfg.Logger.With("generation", m.Generation) // nobody else has it yet
	d.Sockets.Log, d.Conns.Log, d.keeper.Log = d.log, d.log, d.log
	p.welcomed(m, slices.Contains(m.Features, featureTimeline) && slices.Contains(d.features(), featureTimeline))
	d.log.Info("succeeding", "incumbent", m.PID, "program", m.Name)
	return nil
}

// takeOffers receives the manifest, batch by batch.
func (p *predecessor) takeOffers(ctx context.Context) error {
	for batch := 0; ; batch++ {
		f, err := p.link.Recv(ctx, p.d.cfg.StepTimeout)
		if errors.Is(err, os.ErrDeadlineExceeded) && batch > 0 {
			return fmt.Errorf("OFFER %d came without \"last\", and no other: %w", batch-1, err)
		}
		if err != nil {
			return fmt.Errorf("while it offered: %w", p.link.Explain(err))
		}
		m, ok := f.Msg.(*wire.Offer)
		if !ok {
			f.Raw.Close()
			return p.link.Unexpected(f.Msg)
		}
		again, err := p.receiver.Fill(&f, m, batch)
		if again {
			f.Raw.Close()
			if err != nil {
				return p.link.Explain(err)
			}
			batch-- // it comes again, with descriptors
			continue
		}
		if err == nil {
			err = p.takeOffer(m, f.Raw.FDs, batch)
		}
		f.Raw.Close()
		if err != nil {
			return p.link.Explain(err)
		}
		err = p.link.Send(&wire.Taken{Batch: batch})
		switch {
		case m.Last && (err == nil || link.Over(err)):
			return nil // all is here, also if the incumbent has just died: watch decides what that means
		case err != nil:
			return p.link.Explain(err)
		}
	}
}

// takeOffer takes descriptors out of fds. It sets to nil what it has taken.
func (p *predecessor) takeOffer(m *wire.Offer, fds []*listener.FD, batch int) error {
	d := p.d
	if m.Batch != batch || len(fds) != len(m.Items) || len(p.offer)+len(fds) > wire.MaxSockets {
		return fmt.Errorf("%w: OFFER %d of %d items with %d descriptors", link.ErrProtocol, m.Batch, len(m.Items), len(fds))
	}
	for i, item := range m.Items {
		fd, place := fds[i], len(p.offer)
		info, err := listener.Describe(fd)
		if err != nil {
			return fmt.Errorf("offered %s: %w", item.Name, err)
		}
		p.offer = append(p.offer, offeredItem{item: item, info: info})
		fds[i] = nil
		switch item.Kind {
		case wire.KindStdout:
			d.stdio.Final(1, fd)
		case wire.KindStderr:
			d.stdio.Final(2, fd)
		case wire.KindRendezvous:
			if err := d.keeper.Adopt(fd, info, item, place); err != nil {
				return err
			}
		default:
			p.tellNetNS(item, fd)
			d.Sockets.Adopt(item, fd, place)
		}
	}
	return nil
}
