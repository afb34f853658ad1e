package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

// predecessor is the generation that this one succeeds.
type predecessor struct {
	link    *link
	token   token
	pulls   bool      // descriptors are to be taken from it
	heir    bool      // nobody before it can be revived: if it ends, the sockets are ours
	offered []offered // by place in the offer
	claimed []bool    // likewise: what the program had asked for when the receipts were sent
	watched chan struct{}
	unwatch context.CancelCauseFunc
	lost    error // why it is no use to call Ready; valid once watched is closed
	left    bool  // it stopped for good, and left the sockets to this generation, its heir

	once sync.Once

	released event // it, or what it was, will never be revived
	gone     event // its link is closed
	ponged   event // it asked whether we are well, for the last time
}

// offered is one thing that came with an offer, as it was identified on arrival.
type offered struct {
	item wire.Item
	info listener.Info
}

// close hangs up. It may be called more than once.
func (p *predecessor) close() {
	p.once.Do(func() {
		p.released.happen()
		p.gone.happen()
		p.token.close()
		p.link.close()
	})
}

var errUnwatched = errors.New("Ready was called")

// succeed makes this generation the successor of whoever is at the other end of conn, which it takes. On return it holds
// all that was offered.
func (g *Generation) succeed(ctx context.Context, conn *net.UnixConn) error {
	if err := passCredentials(conn, true); err != nil {
		_ = conn.Close()
		return err
	}
	p := &predecessor{
		link:     newLink(conn, g.cfg.StepTimeout, g.cfg.Trace),
		released: newEvent(),
		gone:     newEvent(),
		ponged:   newEvent(),
		watched:  make(chan struct{}),
	}
	err := g.beWelcomed(ctx, p)
	if err == nil {
		err = g.takeOffers(ctx, p)
	}
	if err != nil {
		if !over(err) {
			_ = p.link.send(&wire.Failed{Reason: err.Error()})
		}
		p.close()
		return err
	}
	g.mu.Lock()
	g.predecessor = p
	g.mu.Unlock()
	watch, unwatch := context.WithCancelCause(g.ctx)
	p.unwatch = unwatch
	g.task(func() { g.watch(watch, p) })
	return nil
}

// beWelcomed says HELLO and waits for WELCOME, from somebody who is authorized.
func (g *Generation) beWelcomed(ctx context.Context, p *predecessor) error {
	l := p.link
	err := l.send(&wire.Hello{Versions: wire.Versions(), Features: g.cfg.Transport.features(), Name: programName(), PID: os.Getpid()})
	if err != nil {
		if over(err) {
			return errIncumbentLeft
		}
		return err
	}
	patience := g.cfg.StepTimeout
	for {
		f, err := l.recv(ctx, patience)
		switch {
		case err != nil && over(err):
			return errIncumbentLeft
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("%w: %w", errSilent, err)
		case err != nil:
			return err
		}
		switch m := f.msg.(type) {
		case *wire.Wait:
			f.raw.Close()
			g.log.Info("the incumbent is not ready yet; waiting", "phase", m.Phase)
			patience = g.cfg.ReadyTimeout
		case *wire.Welcome:
			err := g.welcome(p, f, m)
			f.raw.Close()
			return err
		default:
			f.raw.Close()
			return unexpected(m)
		}
	}
}

func (g *Generation) welcome(p *predecessor, f frame, m *wire.Welcome) (err error) {
	if p.link.peer, err = g.introduce(p.link, f); err != nil {
		return err
	}
	if err := passCredentials(p.link.conn, false); err != nil {
		return err
	}
	if len(f.raw.FDs) != 1 {
		return fmt.Errorf("%w: WELCOME with %d descriptors", ErrProtocol, len(f.raw.FDs))
	}
	fd := f.raw.FDs[0]
	f.raw.FDs[0] = nil
	if p.token, err = adoptToken(fd); err != nil {
		return err
	}
	if !slices.Contains(wire.Versions(), m.Version) {
		return fmt.Errorf("%w: WELCOME to version %d, we speak %v", ErrVersion, m.Version, wire.Versions())
	}
	p.heir = m.Heir
	if p.pulls, err = g.cfg.Transport.pullable(m.Features); err != nil {
		return err
	}
	g.mu.Lock()
	g.number = m.Generation
	g.mu.Unlock()
	g.log = g.cfg.Logger.With("generation", m.Generation) // nobody else has it yet
	g.log.Info("succeeding", "incumbent", m.PID, "program", m.Name)
	return nil
}

// takeOffers receives the manifest, batch by batch.
func (g *Generation) takeOffers(ctx context.Context, p *predecessor) error {
	for batch := 0; ; batch++ {
		f, err := p.link.recv(ctx, g.cfg.StepTimeout)
		if err != nil {
			return fmt.Errorf("while it offered: %w", p.link.explain(err))
		}
		m, ok := f.msg.(*wire.Offer)
		if !ok {
			f.raw.Close()
			return unexpected(f.msg)
		}
		if p.pulls && len(f.raw.FDs) == 0 {
			f.raw.FDs, err = p.pull(m.Items)
			if err != nil && refusable(err) && g.cfg.Transport != TransportPidfd {
				f.raw.Close()
				p.pulls = false
				if err := p.link.send(&wire.Taken{Batch: batch, Refused: err.Error()}); err != nil {
					return p.link.explain(err)
				}
				batch-- // it comes again, with descriptors
				continue
			}
		}
		if err == nil {
			err = g.takeOffer(p, m, f.raw.FDs, batch)
		} else if refusable(err) {
			err = fmt.Errorf("%w: %w", ErrTransport, err)
		}
		f.raw.Close()
		if err != nil {
			return p.link.explain(err)
		}
		err = p.link.send(&wire.Taken{Batch: batch})
		switch {
		case m.Last && (err == nil || over(err)):
			return nil // all is here, also if the incumbent has just died: watch decides what that means
		case err != nil:
			return p.link.explain(err)
		}
	}
}

// takeOffer takes those of fds that it sets to nil.
func (g *Generation) takeOffer(p *predecessor, m *wire.Offer, fds []*listener.FD, batch int) error {
	if m.Batch != batch || len(fds) != len(m.Items) || len(p.offered)+len(fds) > wire.MaxSockets {
		return fmt.Errorf("%w: OFFER %d of %d items with %d descriptors", ErrProtocol, m.Batch, len(m.Items), len(fds))
	}
	for i, item := range m.Items {
		fd, place := fds[i], len(p.offered)
		info, err := listener.Describe(fd)
		if err != nil {
			return fmt.Errorf("offered %s: %w", item.Name, err)
		}
		p.offered = append(p.offered, offered{item: item, info: info})
		fds[i] = nil
		switch item.Kind {
		case wire.KindStdout:
			g.output[1] = fd
		case wire.KindStderr:
			g.output[2] = fd
		case wire.KindRendezvous:
			if g.rendezvous != nil || g.cfg.Path == "" {
				_ = fd.Close()
				return fmt.Errorf("%w: a rendezvous that nobody expects", ErrProtocol)
			}
			if err := g.adoptRendezvous(fd, item, place); err != nil {
				return err
			}
		default:
			g.mu.Lock()
			g.unclaimed = append(g.unclaimed, &resource{item: item, fd: fd, offer: place})
			g.mu.Unlock()
		}
	}
	return nil
}

// watch waits for an end of the predecessor, or of its patience, while the program prepares itself. If there is nothing
// to wait for any more it gives up all copies at once: they would keep ports open with nobody behind.
func (g *Generation) watch(ctx context.Context, p *predecessor) {
	defer close(p.watched)
	f, err := p.link.recv(ctx, 0)
	if err == nil {
		f.raw.Close()
		if _, ok := f.msg.(*wire.Goodbye); ok && p.heir {
			p.left = true
			g.log.Info("the incumbent stops and leaves the sockets to this process", "incumbent", p.link.peer.PID)
			return
		}
		err = unexpected(f.msg)
	}
	switch {
	case errors.Is(err, errUnwatched):
		return
	case g.ctx.Err() != nil:
	case over(err) && p.heir && p.died(g.cfg.StepTimeout):
		g.log.Warn("the incumbent died; this process takes the sockets when it is ready", "incumbent", p.link.peer.PID)
		return
	default:
		g.log.Error("this generation cannot take over any more", "error", err)
	}
	p.lost = p.link.explain(err)
	g.stop()
}

// died reports whether the process at the other end is dead, or is within d.
func (p *predecessor) died(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.link.peer.Done():
		return true
	case <-t.C:
		return p.link.peer.Dead()
	}
}

// takeOver is Ready for a successor.
func (g *Generation) takeOver(ctx context.Context) error {
	p := g.predecessor
	p.unwatch(errUnwatched)
	<-p.watched
	if p.lost != nil {
		return p.lost
	}
	if err := g.arm(); err != nil {
		_ = p.link.send(&wire.Failed{Reason: err.Error()})
		return err
	}
	if err := g.awaitCommit(ctx, p); err != nil {
		return err
	}
	// From here this generation owns, and what fails is only reported.
	phase := PhaseServing
	if g.cfg.Probation > 0 || g.cfg.Check != nil {
		phase = PhaseProbation
	}
	if err := g.openClaimed(phase); err != nil {
		// Close came meanwhile, or somebody broke a socket. The predecessor takes the token back.
		_ = p.token.put()
		_ = p.link.send(&wire.Failed{Reason: err.Error(), Returned: true})
		return err
	}
	if err := p.link.send(&wire.Owned{}); err != nil {
		g.log.Warn("the predecessor was not told that this generation owns", "error", err)
	}
	g.dropClosed(p)
	g.started.happen()
	g.log.Info("serving", "phase", phase)
	if err := g.replaceOutput(); err != nil {
		g.log.Warn("standard output still goes through the predecessor", "error", err)
	}
	g.closeUnclaimed()
	if err := g.openRendezvous(); err != nil {
		g.log.Error("the rendezvous is out of order; only Upgrade starts a successor", "path", g.cfg.Path, "error", err)
	}
	if phase == PhaseServing {
		g.confirm(p)
		g.task(func() { g.attend(p) })
		return nil
	}
	g.task(func() { g.attend(p) })
	g.task(func() { g.prove(p) })
	return nil
}

// arm makes every claimed socket ready to be opened, because after the commit nothing may fail.
func (g *Generation) arm() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing {
		return net.ErrClosed
	}
	for _, r := range g.claimed {
		if r.sock == nil {
			continue
		}
		if err := r.sock.Arm(); err != nil {
			return fmt.Errorf("inherited %s: %w", r.item.Name, err)
		}
	}
	return nil
}

// awaitCommit proves what this generation holds, waits for COMMIT and takes the token. If the predecessor is no more and
// this generation its heir, it takes the token without.
func (g *Generation) awaitCommit(ctx context.Context, p *predecessor) error {
	if !p.left {
		err := g.sendReceipts(p)
		if err == nil || over(err) { // what it had said before it ended counts
			err = p.awaitCommit(ctx, 3*g.cfg.StepTimeout) // it may have a predecessor of its own to release before
		}
		switch {
		case err == nil:
		case p.heir && over(err) && p.died(g.cfg.StepTimeout):
			g.log.Warn("the incumbent died before the commit; this process takes the sockets", "incumbent", p.link.peer.PID)
		default:
			if !over(err) {
				_ = p.link.send(&wire.Failed{Reason: err.Error()})
			}
			return fmt.Errorf("before the commit: %w", p.link.explain(err))
		}
	}
	switch owned, err := p.token.take(); {
	case err != nil:
		return err
	case !owned:
		return fmt.Errorf("%w: the incumbent took them back, this process was too late", ErrNotOwner)
	}
	return nil
}

// awaitCommit waits for the permission to take the token: COMMIT, or the last word of an incumbent whose heir this is.
func (p *predecessor) awaitCommit(ctx context.Context, d time.Duration) error {
	f, err := p.link.recv(ctx, d)
	if err != nil {
		return err
	}
	f.raw.Close()
	switch f.msg.(type) {
	case *wire.Commit:
		return nil
	case *wire.Goodbye:
		if p.heir {
			p.left = true
			return nil
		}
	}
	return unexpected(f.msg)
}

// dropClosed tells the predecessor of the sockets that the program closed between their receipts and the commit.
func (g *Generation) dropClosed(p *predecessor) {
	closed := slices.Clone(p.claimed)
	g.mu.Lock()
	for _, r := range g.claimed {
		if r.inherited() && r.offer < len(closed) {
			closed[r.offer] = false
		}
	}
	g.mu.Unlock()
	for i, dropped := range closed { // none if the predecessor left before the receipts
		if dropped {
			g.dropped(i)
		}
	}
}

// sendReceipts sends what each offered thing was when it arrived, and whether the program asked for it.
func (g *Generation) sendReceipts(p *predecessor) error {
	claimed := make([]bool, len(p.offered))
	g.mu.Lock()
	for _, r := range g.claimed {
		if r.inherited() {
			claimed[r.offer] = true
		}
	}
	g.mu.Unlock()
	p.claimed = slices.Clone(claimed)
	receipts := make([]wire.Receipt, len(p.offered))
	for i, o := range p.offered {
		switch o.item.Kind {
		case wire.KindRendezvous, wire.KindStdout, wire.KindStderr:
			claimed[i] = true
		}
		receipts[i] = receipt(o.info)
		receipts[i].Item, receipts[i].Claimed = i, claimed[i]
	}
	frames, err := wire.Receipts(receipts, g.confirmWithin().Milliseconds())
	if err != nil {
		return err
	}
	for _, m := range frames {
		if err := p.link.send(m); err != nil {
			return err
		}
	}
	return nil
}

// receipt says what identifies an open file: status flags other than the access mode may change at any time.
func receipt(i listener.Info) wire.Receipt {
	return wire.Receipt{Cookie: i.Cookie, Dev: i.Dev, Ino: i.Ino, Flags: i.Flags & unix.O_ACCMODE}
}

// confirmWithin is how long after OWNED the predecessor may have to wait for CONFIRM.
func (g *Generation) confirmWithin() time.Duration {
	d := max(g.cfg.Probation, 0)
	if g.cfg.Check != nil {
		d += g.cfg.ReadyTimeout
	}
	return d
}

func (g *Generation) closeUnclaimed() {
	g.mu.Lock()
	unclaimed := g.unclaimed
	g.unclaimed = nil
	g.mu.Unlock()
	for _, r := range unclaimed {
		g.log.Info("not asked for; the predecessor closes it", "name", r.item.Name)
		r.giveUp(false)
	}
}

// attend answers the predecessor until it ends.
func (g *Generation) attend(p *predecessor) {
	defer p.close()
	for {
		f, err := p.link.recv(g.ctx, 0)
		if err != nil {
			if g.ctx.Err() == nil {
				g.log.Debug("the predecessor is gone", "predecessor", p.link.peer.PID, "error", err)
			}
			return
		}
		f.raw.Close()
		switch f.msg.(type) {
		case *wire.Ping: // the end of the guard: it lets go once it has the answer
			p.ponged.happen()
			if !g.currentPhase().owner() {
				continue // handing back
			}
			if err := p.link.send(&wire.Pong{}); err != nil {
				return
			}
		case *wire.Released:
			p.released.happen()
		case *wire.Bye, *wire.Goodbye:
			return
		}
	}
}

// prove serves for the probation, calls Check, and confirms or hands back.
func (g *Generation) prove(p *predecessor) {
	t := time.NewTimer(max(g.cfg.Probation, 0))
	defer t.Stop()
	select {
	case <-t.C:
	case <-g.ctx.Done():
		return
	}
	if g.cfg.Check != nil {
		ctx, cancel := context.WithTimeout(g.ctx, g.cfg.ReadyTimeout)
		err := g.cfg.Check(ctx)
		cancel()
		if g.ctx.Err() != nil {
			return
		}
		if err != nil {
			g.log.Error("the check failed", "error", err)
			if g.handBack(err) {
				return
			}
		}
	}
	if g.setPhaseIf(PhaseProbation, PhaseServing) {
		g.confirm(p)
	}
}

func (g *Generation) confirm(p *predecessor) {
	if err := p.link.send(&wire.Confirm{}); err != nil && !over(err) && !errors.Is(err, net.ErrClosed) {
		g.log.Warn("the predecessor was not told that this generation is well", "error", err)
	}
	g.writePIDFile()
}

// handBack gives the sockets back, if there is somebody to give them to.
func (g *Generation) handBack(cause error) bool {
	g.mu.Lock()
	p := g.predecessor
	if p == nil || p.released.happened() || p.ponged.happened() || g.phase != PhaseProbation && g.phase != PhaseServing {
		g.mu.Unlock()
		g.log.Warn("there is no predecessor that the sockets could go back to", "error", cause)
		return false
	}
	g.setPhaseLocked(PhaseGuarding)
	g.mu.Unlock()
	g.log.Error("this generation fails; the sockets go back", "error", cause)
	if err := g.parkClaimed(nil); err != nil {
		g.log.Error("a socket does not pause", "error", err)
	}
	err := p.token.put()
	if err == nil {
		err = p.link.send(&wire.Failed{Reason: cause.Error(), Returned: true})
	}
	if err != nil {
		g.log.Error("nobody is left to serve", "error", err)
	}
	g.mu.Lock()
	g.handedBack = fmt.Errorf("%w: %w", ErrHandedBack, cause)
	g.mu.Unlock()
	g.stop()
	return true
}

// releaseAncestor makes the predecessor give up revival, before this generation commits to a successor: two who could
// revive would be two owners.
func (g *Generation) releaseAncestor(ctx context.Context) error {
	g.mu.Lock()
	p := g.predecessor
	g.mu.Unlock()
	if p == nil || p.released.happened() {
		return nil
	}
	if err := p.link.send(&wire.Release{}); err != nil && !over(err) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("release pid %d: %w", p.link.peer.PID, err)
	}
	t := time.NewTimer(g.cfg.StepTimeout)
	defer t.Stop()
	select {
	case <-p.released.c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return fmt.Errorf("generation before this one, pid %d, does not give up its guard; is it stopped? %w",
			p.link.peer.PID, os.ErrDeadlineExceeded)
	}
}
