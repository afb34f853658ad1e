package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/spawn"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
	"golang.org/x/sys/unix"
)

// chain is what a generation has to do with the ones before and after it.
type chain struct {
	rendezvous  *sockets.Socket // nil without a Path
	waiting     int             // upgrades that this process wants and that wait for a silent successor; guarded by Generation.mu
	attempt     *attempt        // the handover under way, one at a time; guarded by Generation.mu
	predecessor *predecessor    // nil for the first generation; guarded by Generation.mu once this generation owns

	spares spares.Pool // descriptors for a handover

	origin spawn.Origin // what successors are started with
	stdio  spawn.Stdio  // standard output and error
}

// errSilent: the incumbent took the connection, or the kernel did for it, and says nothing.
var errSilent = errors.New("the incumbent does not answer; is it stopped or stuck? Config.Rescue can replace it")

// errFull: so many have called an incumbent in vain that nobody can any more. Only a connection tells who listens, so not
// even Rescue knows whom to replace.
var errFull = errors.New("the incumbent does not answer, and its queue is full of those who called it before; it is stopped or stuck: find it (ss -xlp), continue or kill it")

// errIncumbentLeft: the incumbent ended before it had said a word about a handover. Whoever is there now may take us.
var errIncumbentLeft = errors.New("the incumbent ended before it answered")

func (g *Generation) join(ctx context.Context) error {
	g.spares.Alone = g.withoutAccepting
	g.origin = spawn.NewOrigin()
	if err := g.supervised.take(); err != nil {
		return err
	}
	err := g.meet(ctx)
	if err == nil && g.cfg.Command == nil {
		g.origin.Report(g.log)
	}
	return err
}

// meet finds the incumbent and succeeds it, or makes this generation the first.
func (g *Generation) meet(ctx context.Context) error {
	conn, err := spawn.Inherited(g.cfg.Path, g.log)
	if err != nil {
		return err
	}
	if conn != nil {
		g.stdio.SurviveSIGPIPE()
		return g.succeed(ctx, conn)
	}
	if g.cfg.Path == "" {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, g.cfg.ReadyTimeout+g.cfg.StepTimeout,
		fmt.Errorf("no incumbent took this process for its successor, and none was absent: %w", os.ErrDeadlineExceeded))
	defer cancel()
	var full time.Time // since when its queue is
	var past calls
	defer func() { drop(past.taken) }()
	for context.Cause(ctx) == nil {
		conn, err := dialRendezvous(g.cfg.Path)
		switch {
		case err == nil:
			full = time.Time{}
			if again, err := g.call(ctx, conn, &past); !again {
				return err // nil: somebody has gone on with the sockets, and hands them over
			}
		case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
			first, err := g.bindRendezvous(ctx)
			if err != nil {
				return err
			}
			if first {
				g.useTaken(&past)
				return g.openRendezvous()
			}
		case errors.Is(err, syscall.EAGAIN): // its queue is full
			if full.IsZero() {
				full = time.Now()
			}
			if time.Since(full) > g.cfg.StepTimeout {
				return fmt.Errorf("%w: %w", errFull, os.ErrDeadlineExceeded)
			}
			pause(ctx, lockPoll)
		case errors.Is(err, syscall.EPROTOTYPE):
			return fmt.Errorf("%w: something that does not speak segue's protocol listens there", err)
		default:
			return err
		}
	}
	return context.Cause(ctx)
}

// calls is what came of calls at the rendezvous that are to be tried again.
type calls struct {
	called bool   // somebody, who did not answer
	killed int    // the last incumbent that was rescued
	taken  Source // has its sockets
}

// call tries to succeed the incumbent at the other end of conn, which it takes. It reports whether to try again with
// whoever is at the rendezvous then, if anybody.
func (g *Generation) call(ctx context.Context, conn *net.UnixConn, past *calls) (again bool, err error) {
	incumbent, err := incumbentOf(conn)
	if err != nil {
		_ = conn.Close()
		if again = errors.Is(err, peer.ErrGone); again {
			pause(ctx, lockPoll) // somebody holds a dead incumbent's rendezvous, and will accept or close it soon
		}
		return again, err
	}
	defer func() { _ = incumbent.Close() }()
	called := past.called
	past.called = true
	err = g.succeed(ctx, conn)
	var busy *BusyError
	switch {
	case errors.Is(err, errIncumbentLeft):
		g.log.Info("the incumbent ended before it answered; trying again", "path", g.cfg.Path)
		incumbent.Await(ctx, link.ExitGrace)
		return true, err
	case called && errors.As(err, &busy) && (busy.PID == os.Getpid() || busy.PID == past.killed && busy.PID != 0):
		pause(ctx, lockPoll) // with an earlier call of ours, which it has only just found, or one whose death it has
		return true, err
	case errors.Is(err, errSilent) && incumbent.Dead(): // and must not be rescued: its number may be another's by now
		g.log.Info("the incumbent is dead, and its successor not ready yet; waiting", "path", g.cfg.Path)
		return true, err
	case errors.Is(err, errSilent) && g.cfg.Rescue != nil:
		return g.rescue(ctx, incumbent, past)
	default:
		return false, err
	}
}

// pause waits a little before another try.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// openRendezvous begins to accept successors. Those who come before Ready wait for it.
func (g *Generation) openRendezvous() error {
	g.mu.Lock()
	r := g.rendezvous
	g.mu.Unlock()
	if r == nil {
		return nil
	}
	if err := relisten(r.Pausable()); err != nil {
		return err
	}
	if err := r.Pausable().Open(); err != nil {
		return err
	}
	g.fillSpares()
	g.task(func() { g.acceptSuccessors(r) })
	return nil
}

// fillSpares keeps descriptors for a handover of what this generation has now.
func (g *Generation) fillSpares() {
	g.mu.Lock()
	n := g.sections.Len()
	if g.cfg.Transport == TransportPidfd {
		n += g.sockets.Len() // copies that the successor takes; otherwise they are sent if there is no room
	}
	g.mu.Unlock()
	g.spares.Fill(n)
}

// withoutAccepting calls f while the sockets of a generation that owns are paused, so that they do not take the descriptors
// that are set free for f. No switch begins meanwhile. f must not lock mu.
func (g *Generation) withoutAccepting(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.phase.owner() {
		f()
		return
	}
	g.sockets.WithoutAccepting(f)
}

// authorize decides whether p may take part. conn's credentials are those with which the connection was made
// (SO_PEERCRED: effective ids), p's those of who speaks (SCM_CREDENTIALS); both must be allowed.
func (g *Generation) authorize(conn *net.UnixConn, p *peer.Peer) error {
	if f := g.cfg.Authorize; f != nil {
		if err := f(Peer{PID: p.PID, UID: p.UID, GID: p.GID}); err != nil {
			return fmt.Errorf("%w: %v: %w", ErrUnauthorized, p, err)
		}
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var inner error
	if err := raw.Control(func(n uintptr) {
		cred, inner = unix.GetsockoptUcred(int(n), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if inner != nil {
		return os.NewSyscallError("getsockopt SO_PEERCRED", inner)
	}
	for _, uid := range []uint32{p.UID, cred.Uid} {
		if !peer.SameUser(uid) {
			return fmt.Errorf("%w: %v; %s", ErrUnauthorized, p, peer.Remedy(uid))
		}
	}
	return nil
}

// linkOptions are those of a link to other, which introduces itself there, by a message with its pidfd, if it is to.
func (g *Generation) linkOptions(other string, introduces bool) link.Options {
	o := link.Options{Other: other, Step: g.cfg.StepTimeout, Sent: g.cfg.Trace.Sent, Received: g.cfg.Trace.Received}
	if introduces {
		o.Spares = &g.spares
	}
	return o
}

// introduce makes a Peer of the sender of f, if it is authorized.
func (g *Generation) introduce(l *link.Link, f link.Frame) (*peer.Peer, error) {
	var p *peer.Peer
	err := g.spares.Do(1, 1, func() (err error) {
		p, err = peer.FromMessage(f.Raw)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := g.authorize(l.Conn, p); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

// peersLocked returns the process ids of the generations before and after.
func (g *Generation) peersLocked() (predecessor, successor int) {
	if p := g.predecessor; p != nil && p.link.Peer != nil && !p.gone.happened() {
		predecessor = p.link.Peer.PID
	}
	if a := g.attempt; a != nil {
		successor = a.pid()
	}
	return predecessor, successor
}

// sendDrop tells a predecessor in its guard that this generation has closed a socket, so that its copy does not keep the
// port open with nobody behind.
func (g *Generation) sendDrop(item int) {
	g.mu.Lock()
	p := g.predecessor
	g.mu.Unlock()
	if p == nil || p.released.happened() {
		return
	}
	if err := p.link.Tell(&wire.Drop{Item: item}); err != nil {
		g.log.Warn("the predecessor was not told of a closed socket", "error", err)
	}
}

// leave says goodbye. The caller has set closing.
func (g *Generation) leave() {
	g.mu.Lock()
	p, phase, refused := g.predecessor, g.phase, g.refused
	g.mu.Unlock()
	e, reason := succession.Stop, errors.New("closed")
	switch phase {
	case PhaseStopped:
		return
	case PhaseStarting:
		e, reason = succession.GiveUp, errors.New("closed before it was ready")
		if refused != nil {
			reason = fmt.Errorf("%w, after: %w", reason, refused)
		}
	}
	g.hear(p, cue{event: e, cause: reason})
}

// letGo closes what the chain holds.
func (g *Generation) letGo(owner bool) {
	g.mu.Lock()
	r := g.rendezvous
	g.rendezvous = nil
	p := g.predecessor
	g.mu.Unlock()
	g.spares.Close()
	if p != nil {
		p.close()
	}
	g.conns.Close()
	g.stdio.Close()
	if r == nil {
		return
	}
	if !owner && !r.Sole() {
		_ = r.CloseAs(false)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.cfg.StepTimeout)
	defer cancel()
	err := g.withLock(ctx, func() error {
		_ = r.CloseAs(true)
		if _, err := os.Lstat(g.cfg.Path); errors.Is(err, os.ErrNotExist) {
			_ = os.Remove(g.lockName()) // with nobody at the path nobody needs it
		}
		return nil
	})
	if err != nil {
		_ = r.CloseAs(false)
		g.log.Warn("the rendezvous was left behind; the next start replaces it", "path", g.cfg.Path, "error", err)
	}
}
