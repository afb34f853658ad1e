package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// attempt is one try to hand over to one successor. Only one is under way at a time (chain.attempts).
type attempt struct {
	g     *Generation
	link  *link
	child *child // nil if the successor called at the rendezvous
	hello *wire.Hello
	token token

	version  int      // the highest in common
	features []string // in common
	heir     bool     // the successor was told that nobody older can be revived
	offered  bool     // it has everything

	changes       int         // Generation.changes at the time of the offer
	sockets       []*resource // what was offered, by place
	claimed       []bool      // by the successor
	confirmWithin time.Duration
}

// maxConfirm bounds what a successor may ask for as its time to confirm.
const maxConfirm = 24 * time.Hour

// pid is for whoever asks who is at work. It is called with Generation.mu held.
func (a *attempt) pid() int {
	if a.link == nil || a.link.peer == nil {
		return 0 // only just being started
	}
	return a.link.peer.PID
}

// receive serves one caller at the rendezvous. It takes conn.
func (g *Generation) receive(conn *net.UnixConn) {
	l := newLink(conn, g.cfg.StepTimeout, g.cfg.Trace)
	a := &attempt{g: g, link: l}
	err := a.greet(g.ctx)
	if err == nil {
		err = g.begin(a)
	}
	if err != nil {
		g.log.Warn("a caller was turned away", "error", err)
		_ = l.send(refusal(err))
		l.close()
		return
	}
	if err := a.handOver(g.ctx, func() {}); err != nil {
		g.log.Error("handover failed", "successor", a.pidNow(), "error", err)
	}
	g.end(a)
}

// greet waits for HELLO, and leaves nobody in who is not authorized or does not speak our language.
func (a *attempt) greet(ctx context.Context) error {
	patience := a.g.cfg.StepTimeout
	if a.child != nil {
		patience = a.g.cfg.ReadyTimeout // it has to start first
	}
	f, err := a.link.recv(ctx, patience)
	if err != nil {
		return fmt.Errorf("before its first word: %w", err)
	}
	defer f.raw.Close()
	hello, isHello := f.msg.(*wire.Hello)
	if !isHello {
		return unexpected(f.msg)
	}
	p, err := a.g.introduce(a.link, f)
	if err != nil {
		return err
	}
	a.g.mu.Lock() // others ask for pid
	// The one who speaks counts, not the wrapper that we may have started.
	a.link.peer, a.hello = p, hello
	a.g.mu.Unlock()
	if err := passCredentials(a.link.conn, false); err != nil {
		return err
	}
	if os.Getpid() == 1 && p.PID != 0 && !p.Self() {
		return errInit
	}
	var common bool
	if a.version, common = wire.Negotiate(wire.Versions(), hello.Versions); !common {
		return fmt.Errorf("%w: we speak %v, process %d (%s) speaks %v", ErrVersion, wire.Versions(), p.PID, hello.Name, hello.Versions)
	}
	a.features = wire.Common(a.g.cfg.Transport.features(), hello.Features)
	_, err = a.g.cfg.Transport.pullable(a.features)
	return err
}

// refusal answers a HELLO that leads nowhere.
func refusal(err error) wire.Message {
	var busy *BusyError
	switch {
	case errors.As(err, &busy):
		return &wire.Busy{PID: busy.PID, Name: busy.Name, Phase: string(busy.Phase), Owner: os.Getpid()}
	case errors.Is(err, ErrUnauthorized):
		return &wire.Refuse{Code: wire.CodeUnauthorized, Reason: "ask the incumbent's log why"}
	case errors.Is(err, ErrVersion):
		return &wire.Refuse{Code: wire.CodeVersion, Versions: wire.Versions(), Reason: err.Error()}
	case errors.Is(err, ErrTransport):
		return &wire.Refuse{Code: wire.CodeTransport, Reason: err.Error()}
	case errors.Is(err, net.ErrClosed), errors.Is(err, ErrNotOwner):
		return &wire.Refuse{Code: wire.CodeStopping, Reason: err.Error()}
	default:
		return &wire.Refuse{Code: wire.CodeMalformed, Reason: err.Error()}
	}
}

// begin makes a the attempt under way, or says who is busy. end must follow.
func (g *Generation) begin(a *attempt) error {
	select {
	case g.attempts <- struct{}{}:
	default:
		g.mu.Lock()
		defer g.mu.Unlock()
		busy := &BusyError{Phase: g.phase}
		if other := g.attempt; other != nil {
			busy.PID = other.pid()
			if other.hello != nil {
				busy.Name = other.hello.Name
			}
		}
		return busy
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var err error
	switch {
	case g.closing || g.phase == PhaseStopped:
		err = net.ErrClosed
	case g.phase == PhaseProbation: // this generation has itself to prove first
		err = &BusyError{PID: os.Getpid(), Name: programName(), Phase: g.phase}
	case g.phase != PhaseServing && g.phase != PhaseStarting:
		err = ErrNotOwner
	}
	if err != nil {
		<-g.attempts
		return err
	}
	g.attempt = a
	g.tasks.Add(1) // here, where Close has not begun to wait
	return nil
}

// end undoes begin.
func (g *Generation) end(a *attempt) {
	g.mu.Lock()
	g.attempt = nil
	g.mu.Unlock()
	a.token.close()
	if a.link != nil {
		a.link.close()
	}
	<-g.attempts
	g.tasks.Done()
}

// handOver runs an attempt. It returns an error if the successor did not come to confirm. Otherwise it calls confirmed
// then, and returns when there is nothing left to guard. ctx bounds it up to the commit.
func (a *attempt) handOver(ctx context.Context, confirmed func()) error {
	g := a.g
	err := a.prepare(ctx)
	if err == nil {
		err = a.commit()
	}
	if err == nil {
		err = a.awaitConfirm()
	}
	if err != nil {
		err = g.errorf("upgrade", err)
		g.mu.Lock()
		g.lastError = err
		g.mu.Unlock()
		return err
	}
	a.confirmed()
	confirmed()
	a.guard()
	return nil
}

func (a *attempt) pidNow() int {
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	return a.pid()
}

// prepare does all that comes before the commit. On an error nothing has happened, and the successor was told.
func (a *attempt) prepare(ctx context.Context) error {
	g := a.g
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(g.ctx, func() { cancel(context.Cause(g.ctx)) })()
	var err error
	if a.child != nil {
		err = a.greet(ctx) // who called at the rendezvous has been
	}
	if err == nil {
		err = a.awaitReady(ctx)
	}
	if err == nil {
		err = a.offer(ctx)
	}
	if err == nil {
		err = a.awaitReceipts(ctx)
	}
	if err == nil {
		err = g.releaseAncestor(ctx)
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, net.ErrClosed) && g.ctx.Err() != nil && a.child == nil && a.offered && a.heir {
		a.bequeath()
		return err
	}
	err = a.link.explain(err)
	a.abort(err)
	return err
}

// awaitReady waits until this generation owns, if the successor was quicker to say HELLO.
func (a *attempt) awaitReady(ctx context.Context) error {
	g := a.g
	if !g.started.happened() {
		if err := a.link.send(&wire.Wait{Phase: string(PhaseStarting)}); err != nil {
			return err
		}
		select {
		case <-g.started.c:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.link.peer.Done():
			return ErrPeerDied
		}
	}
	if a.child == nil && !g.setPhaseIf(PhaseServing, PhaseOffering) {
		return ErrNotOwner
	}
	return nil
}

// offer sends WELCOME and the manifest with its descriptors, one batch in flight at a time: the kernel bounds how many
// may be in flight (ETOOMANYREFS, unix(7)).
func (a *attempt) offer(ctx context.Context) error {
	g := a.g
	var err error
	if a.token, err = newToken(); err != nil {
		return err
	}
	g.mu.Lock()
	a.changes = g.changes
	a.sockets = slices.Clone(g.claimed)
	number := g.number + 1
	if g.rendezvous != nil {
		a.sockets = append(a.sockets, g.rendezvous)
	}
	g.mu.Unlock()
	items := make([]wire.Item, 0, len(a.sockets)+2)
	fds := make([]syscall.Conn, 0, len(a.sockets)+2)
	for _, r := range a.sockets {
		item := r.item
		if r.sock != nil {
			item.UnlinkOnClose = r.sock.UnlinkOnClose()
		}
		items, fds = append(items, item), append(fds, r.conn())
	}
	if c := a.child; c != nil {
		if c.stdout != nil {
			items, fds = append(items, wire.Item{Name: "stdout", Kind: wire.KindStdout}), append(fds, c.stdout)
		}
		if c.stderr != nil {
			items, fds = append(items, wire.Item{Name: "stderr", Kind: wire.KindStderr}), append(fds, c.stderr)
		}
	}
	a.heir = g.isFirstOrReleased()
	err = a.link.send(&wire.Welcome{
		Version: a.version, Features: a.features, Generation: number, Name: programName(), PID: os.Getpid(), Heir: a.heir,
	}, a.token.fd)
	if err != nil {
		return err
	}
	pull, err := g.cfg.Transport.pullable(a.features)
	if err != nil {
		return err
	}
	if pull {
		reserve(items)
		defer allowPull(a.link.peer)()
	}
	offers, err := wire.Offers(items)
	if err != nil {
		return err
	}
	for _, o := range offers {
		n := len(o.Items)
		if err := a.sendBatch(ctx, o, fds[:n], &pull); err != nil {
			return err
		}
		fds = fds[n:]
	}
	a.offered = true
	return nil
}

// isFirstOrReleased reports whether nobody before this generation can be revived any more.
func (g *Generation) isFirstOrReleased() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.predecessor == nil || g.predecessor.released.happened()
}

// awaitReceipts waits for Ready in the successor, and compares what it has with what was sent.
func (a *attempt) awaitReceipts(ctx context.Context) error {
	deadline := time.Now().Add(a.g.cfg.ReadyTimeout)
	var receipts []wire.Receipt
	for batch, last := 0, false; !last; batch++ {
		m, err := expect[*wire.Prepared](ctx, a.link, max(time.Until(deadline), time.Millisecond))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("the successor did not become ready: %w", err)
		}
		if err != nil {
			return fmt.Errorf("while it prepared: %w", err)
		}
		if m.Batch != batch || len(receipts)+len(m.Receipts) > wire.MaxSockets {
			return fmt.Errorf("%w: PREPARED %d, not %d", ErrProtocol, m.Batch, batch)
		}
		receipts = append(receipts, m.Receipts...)
		last, a.confirmWithin = m.Last, time.Duration(min(m.ConfirmWithin, maxConfirm.Milliseconds()))*time.Millisecond
	}
	if len(receipts) < len(a.sockets) {
		return fmt.Errorf("%w: %d receipts for %d sockets", ErrProtocol, len(receipts), len(a.sockets))
	}
	a.claimed = make([]bool, len(a.sockets))
	for i, r := range a.sockets {
		info, err := listener.Describe(r.conn())
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrChanged, r.item.Name, err)
		}
		want := receipt(info)
		want.Item, want.Claimed = i, receipts[i].Claimed
		if got := receipts[i]; got != want {
			return fmt.Errorf("%w: the receipt for %s does not match: got %+v, want %+v", ErrProtocol, r.item.Name, got, want)
		}
		a.claimed[i] = want.Claimed
	}
	return nil
}

// abort ends an attempt before the commit: this generation serves on, as it did all the time.
func (a *attempt) abort(cause error) {
	a.g.setPhaseIf(PhaseOffering, PhaseServing)
	if errors.Is(cause, ErrPeerDied) {
		return
	}
	a.dismiss(cause)
}

// dismiss tells a successor that owns nothing that it never will, and sees to it that it lets go of its copies.
func (a *attempt) dismiss(cause error) {
	if a.link.send(&wire.Abort{Reason: cause.Error()}) != nil || a.child != nil || a.link.peer == nil || a.link.peer.Self() {
		return // a child is going to be ended anyway
	}
	// A successor that is alive gives up its copies of the sockets and hangs up. One that does not would keep the ports
	// open for ever with nobody behind.
	ctx, cancel := context.WithTimeout(context.Background(), a.g.cfg.StepTimeout)
	defer cancel()
	for {
		f, err := a.link.recv(ctx, 0)
		if err == nil {
			f.raw.Close()
			continue
		}
		if ctx.Err() != nil {
			kill := a.link.peer.Kill()
			a.g.log.Warn("the failed successor did not hang up and was killed", "successor", a.link.peer.PID, "error", kill)
		}
		return
	}
}

// bequeath leaves the sockets to a successor that somebody else started, when this generation is closed before the
// commit: this generation stops to accept, then says goodbye, and the successor takes the token when it is ready.
func (a *attempt) bequeath() {
	g := a.g
	if !g.setPhaseIf(PhaseOffering, PhaseGuarding) {
		return
	}
	g.log.Info("closed; the sockets are left to the successor that prepares itself", "successor", a.pidNow())
	if err := g.parkClaimed(nil); err != nil {
		g.log.Error("a socket does not pause", "error", err)
	}
	if err := a.link.send(&wire.Goodbye{Reason: "closed; the sockets are yours"}); err != nil {
		g.log.Error("nobody is left to serve", "error", err)
	}
}

// commit pauses, lets go, and waits for the successor to own. On an error this generation owns again, or it stays paused
// because the successor owns and cannot be ended.
func (a *attempt) commit() error {
	g := a.g
	g.mu.Lock()
	switch {
	case g.changes != a.changes:
		g.mu.Unlock()
		a.abort(ErrChanged)
		return ErrChanged
	case g.phase != PhaseOffering || g.closing:
		g.mu.Unlock()
		a.abort(net.ErrClosed)
		return net.ErrClosed
	}
	g.setPhaseLocked(PhaseSwitching)
	g.mu.Unlock()
	err := g.pauseClaimed(a)
	if err == nil {
		err = a.link.send(&wire.Commit{})
	}
	if err == nil {
		// Neither the caller's context nor Close ends this wait: who owns must be known first.
		err = a.awaitOwned(context.Background())
	}
	if err != nil {
		if err = a.takeBack(fmt.Errorf("after the commit: %w", err), false); err != nil {
			return err
		}
	}
	g.setPhase(PhaseGuarding)
	if err := g.parkClaimed(a); err != nil {
		g.log.Warn("a paused socket stays in the poller, which costs the successor time", "error", err)
	}
	return nil
}

// awaitOwned waits for OWNED. A socket that the program closes as soon as it owns it may be dropped before.
func (a *attempt) awaitOwned(ctx context.Context) error {
	deadline := time.Now().Add(a.g.cfg.StepTimeout)
	for {
		f, err := a.link.recv(ctx, max(time.Until(deadline), time.Millisecond))
		if err != nil {
			return err
		}
		f.raw.Close()
		switch m := f.msg.(type) {
		case *wire.Owned:
			return nil
		case *wire.Drop:
			a.dropped(m)
		default:
			return unexpected(m)
		}
	}
}

// awaitConfirm waits until the successor is well. On an error the sockets are back, or have been given up (net.ErrClosed).
func (a *attempt) awaitConfirm() error {
	g := a.g
	deadline := time.Now().Add(a.confirmWithin + g.cfg.StepTimeout)
	for {
		f, err := a.link.recv(g.ctx, max(time.Until(deadline), time.Millisecond))
		if err != nil {
			err = fmt.Errorf("before it confirmed: %w", err)
			if g.ctx.Err() != nil {
				return err // closed; the successor serves on
			}
			if a.wished(err) {
				return a.forgo(err)
			}
			return a.takeBack(err, true)
		}
		f.raw.Close()
		switch m := f.msg.(type) {
		case *wire.Confirm:
			return nil
		case *wire.Drop:
			a.dropped(m)
		case *wire.Failed:
			return a.takeBack(unexpected(m), true)
		case *wire.Goodbye:
			return a.forgo(unexpected(m))
		}
	}
}

// takeBack makes this generation the owner again, if the token is still there, or once the successor is certainly dead.
// It returns cause then. It returns nil if the successor owned after all and had only been slow to say so, which is
// possible until OWNED has been seen.
func (a *attempt) takeBack(cause error, seenOwned bool) error {
	g := a.g
	mine, err := a.token.take()
	if mine {
		g.resume(a)
		a.dismiss(cause)
		return cause
	}
	if err != nil {
		cause = fmt.Errorf("%w; %w", cause, err)
	}
	p := a.link.peer
	err = a.fence(p)
	if err == nil {
		g.resume(a)
		return fmt.Errorf("%w; successor pid %d had the sockets and is dead%s", cause, p.PID, exitText(p))
	}
	g.log.Error("the successor owns the sockets, does not answer and cannot be killed; this process stays paused until it ends",
		"successor", p.PID, "cause", cause, "error", err)
	for {
		f, err := a.link.recv(g.ctx, 0)
		switch {
		case g.ctx.Err() != nil:
			return cause
		case err != nil:
			select {
			case <-p.Done():
				g.resume(a)
				return fmt.Errorf("%w; successor pid %d ended at last%s", cause, p.PID, exitText(p))
			case <-g.ctx.Done():
				return cause
			}
		}
		f.raw.Close()
		switch m := f.msg.(type) {
		case *wire.Owned, *wire.Confirm:
			if !seenOwned {
				return nil
			}
		case *wire.Failed:
			if mine, _ := a.token.take(); mine {
				g.resume(a)
				return fmt.Errorf("%w; %w", cause, unexpected(m))
			}
		}
	}
}

// fence ends a successor that owns, and sees it dead: only then may this generation serve again.
func (a *attempt) fence(p *peer.Peer) error {
	if p.Dead() {
		return nil
	}
	if err := p.Kill(); err != nil {
		return err
	}
	t := time.NewTimer(a.g.cfg.StepTimeout)
	defer t.Stop()
	select {
	case <-p.Done():
		return nil
	case <-t.C:
		return fmt.Errorf("it does not die: %w", os.ErrDeadlineExceeded)
	}
}

func exitText(p *peer.Peer) string {
	if e, ok := p.Exit(); ok {
		return " (" + e.String() + ")"
	}
	return ""
}
