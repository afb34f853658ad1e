package handoff

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/handoff/internal/driver"
	"github.com/segue-go/segue/handoff/internal/hook"
	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/internal/startenv"
)

// Generation is one process in a chain of processes that hand the same sockets on. Make it with [Join], end it with
// Close. Its methods may be called from any goroutine.
type Generation struct {
	cfg      Config
	driver   *driver.Driver
	close    sync.Once
	pathless bool // Config.Path is empty
	host          // for package serve
	upgrader      // for package tableflip
}

// pathlessJoined is kept per process: the environment and the signals through which a Generation without a Path hands over
// belong to the process too, so two of them would take each other's successors. There is one other thing per process: the process
// that may take descriptors of this one where Yama forbids it to others (ptracer in package transport).
var pathlessJoined atomic.Bool

// Join makes this process the next generation on c.Path, or, if that is empty, on the path in the environment variable
// SEGUE_RENDEZVOUS, which a supervisor such as "segue run" sets: the successor of the incumbent that serves there, or of the one
// that started this process by Upgrade, or else the first. A successor has received all sockets, but owns none, when Join
// returns.
//
// Of a process that Upgrade started, Join sees to it that it is not ended by a write to standard output or error that
// nobody reads any more: unless SIGPIPE is ignored, it is notified of it (os/signal) until it ends. So do not call
// signal.Reset for SIGPIPE after Join.
//
// As process 1, and with Config.Init, Join never returns, whatever ctx says, and ends the process.
//
// ctx bounds this call only. If an incumbent is there but not yet serving, Join waits for it; if another successor is
// already at work, the error is a [BusyError].
func Join(ctx context.Context, c Config) (*Generation, error) {
	pathless, given := c.Path == "", supervisor(c.Path)
	if pathless {
		c.Path = given.path
	}
	c, err := c.withDefaults()
	if err != nil {
		return nil, &Error{Op: "join", Phase: PhaseStarting, Err: err}
	}
	if c.Init && os.Getpid() == 1 {
		return nil, &Error{Op: "join", Phase: PhaseStarting, Err: becomeInit(c)}
	}
	if pathless && !pathlessJoined.CompareAndSwap(false, true) {
		return nil, &Error{Op: "join", Phase: PhaseStarting, Err: ErrPathless}
	}
	g := &Generation{cfg: c, pathless: pathless}
	g.driver = driver.New(g.driverConfig(given))
	g.host = live.NewHost(g.addHolder)
	g.upgrader = hook.NewUpgrader(g.handOverTo)
	if err = given.take(); err == nil {
		err = g.driver.Join(ctx)
	}
	if err != nil {
		err = g.errorf("join", err)
		_ = g.Close()
		return nil, err
	}
	for _, s := range g.cfg.Sources { // with what a rescue has brought
		g.driver.Sockets.Sources = append(g.driver.Sockets.Sources, s)
	}
	return g, nil
}

// driverConfig is what the driver has to know of this generation.
func (g *Generation) driverConfig(given supervised) driver.Config {
	c := &g.cfg
	d := driver.Config{
		Path:       c.Path,
		PIDFile:    c.PIDFile,
		Supervisor: given.pidFile,
		DryRun:     os.Getenv(startenv.DryRun),
		Command:    c.Command,
		Siblings:   c.Siblings,
		Environ:    given.addTo,
		Signals:    c.Signals,

		ReadyTimeout: c.ReadyTimeout,
		StepTimeout:  c.StepTimeout,
		StateTimeout: c.StateTimeout,
		DrainTimeout: c.DrainTimeout,
		StopTimeout:  c.StopTimeout,
		Guard:        c.Guard,
		Probation:    c.Probation,

		Check:    c.Check,
		SendOnly: c.Transport == TransportSCMRights,
		PullOnly: c.Transport == TransportPidfd,

		Logger:   c.Logger,
		Trace:    c.Trace,
		Opened:   g.tellOpened,
		Closed:   g.tellClosed,
		Keeps:    g.keeps,
		Released: g.tellReleased,
		Failed:   g.tellFailed,
		Phase:    g.tellPhase,
		Settled:  g.tellSettled,
		Rescued:  g.use,
	}
	if f := c.Authorize; f != nil {
		d.Authorize = func(p driver.Peer) error { return f(Peer(p)) }
	}
	if f := c.Rescue; f != nil {
		d.Rescue = func(ctx context.Context, incumbent driver.Peer) (driver.Rescued, error) {
			source, err := f(ctx, Peer(incumbent))
			if err != nil || source == nil {
				return nil, err
			}
			return rescued{source}, nil
		}
	}
	return d
}

// Ready makes this generation the owner of the sockets and opens them: nil means that it owns. On an error it does not
// and never will; everything is as before for the predecessor.
//
// A successor proves here that it holds every socket, and the predecessor lets go. Sockets of the predecessor that were
// not asked for by now are closed once this generation has confirmed. Then Probation runs and Check is called, if
// configured, while Ready has returned and this generation serves.
func (g *Generation) Ready(ctx context.Context) error {
	return g.errorf("ready", g.driver.Ready(ctx))
}

// Upgrade starts the successor (see Config.Command) and hands over to it. It returns nil once the successor has confirmed;
// this generation is superseded then. Otherwise the error, of a successor that was started, is a [ChildError] with its exit
// status and last output; the successor is dead and this generation serves on, unless somebody wished the successor's end
// when it owned already, or it owns and cannot be killed: Status tells. A successor that failed its Check answers what it has
// accepted before it ends, for which it has this generation's DrainTimeout, and StepTimeout, before it is killed. Upgrade
// waits a second for that, and then returns an error without an exit status. ctx bounds the call up to the commit; what follows
// has bounds of its own. Errors besides: what kept it from starting, a [BusyError], [ErrNotOwner], and
// [errors.ErrUnsupported] where segue cannot hand over.
func (g *Generation) Upgrade(ctx context.Context) error {
	return g.errorf("upgrade", g.driver.Upgrade(ctx))
}

// DrainTimeout is Config's, with its default filled in: the time that a drain of the program's own should take at most.
// Negative: no bound.
func (g *Generation) DrainTimeout() time.Duration { return g.cfg.DrainTimeout }

// StopTimeout is Config's, with its default filled in: the time that a stop for good should take at most. Negative: no bound.
func (g *Generation) StopTimeout() time.Duration { return g.cfg.StopTimeout }

// Released is closed once this generation will never serve again: it has been superseded and its guard is over, so that
// it will not be revived; or it has ended. It is one channel for the generation's life: a revival neither closes nor
// replaces it. A drain that cannot be undone, like gRPC's GracefulStop, waits for it. What can be undone begins and ends
// with the drain function of [Generation.Wait], which is called each time that this generation is superseded.
func (g *Generation) Released() <-chan struct{} { return g.driver.Released() }

// Status returns a snapshot.
func (g *Generation) Status() Status {
	d := g.driver.Status()
	s := Status{
		Generation: d.Number, PID: os.Getpid(), Phase: Phase(d.Phase.String()), Predecessor: d.Predecessor, Successor: d.Successor,
		Arrived: d.Arrived, Moved: d.Moved, LastError: d.LastError,
	}
	if f := (*driver.Failure)(nil); errors.As(d.LastError, &f) {
		s.LastError = g.errorf(f.Op, f)
	}
	for _, o := range d.Sockets {
		s.Sockets = append(s.Sockets, statusOf(o))
	}
	return s
}

// Close ends this generation for good, at the caller's wish, and waits for what it has running. Before Ready, everything
// stays with the predecessor. As the incumbent, it closes the sockets, removes their paths, and says goodbye to a
// predecessor in its guard, which is then not revived. An attempt to hand over that has not come to its commit is
// ended, and a successor that was spawned for it is killed; one that somebody else started gets the sockets, if nobody
// older could be revived. Connections that are moving to a successor have StepTimeout to arrive, and longer as long as
// some do; those that are to move when package serve has answered what is asked on them, or that a predecessor is yet to pass
// on, have StopTimeout for that, or a minute if that has no bound. Close is idempotent.
func (g *Generation) Close() error {
	g.close.Do(func() {
		g.driver.Close()
		if g.pathless {
			pathlessJoined.Store(false)
		}
	})
	return nil
}

// Fail is Close for a generation that cannot serve: if its predecessor can still be revived, it gets the sockets back, and
// cause for its log. Otherwise Fail is Close, which is still to be called in either case.
//
// Having handed back, Fail returns when no call of Accept is in flight and the predecessor was told, which takes StepTimeout
// at most. It does not wait for connections: they return to the predecessor, as they go to a successor. Those that are idle
// do so at once, the others once package serve has answered what was asked, or the program has called Give; what the
// predecessor had given and nobody has taken returns by itself. Meanwhile this generation is [PhaseDraining], and Accept
// blocks. Wait calls drain, sees to it that all have returned, and returns an error that is [ErrHandedBack] and wraps cause;
// Close waits as it does when a successor has taken over. If connections cannot return, because the predecessor is of an
// older release or has ended, because it lacks descriptors, or because its state is behind ([ErrStale]), they are drained as
// ever: their clients are told to leave.
func (g *Generation) Fail(cause error) error {
	if g.driver.HandBack(cause) {
		return nil
	}
	return g.Close()
}
