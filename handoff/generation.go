package handoff

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/migrate"
	"github.com/segue-go/segue/handoff/internal/pidfile"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/state"
	"github.com/segue-go/segue/handoff/internal/succession"
)

// Generation is one process in a chain of processes that hand the same sockets on. Make it with [Join], end it with
// Close. Its methods may be called from any goroutine.
type Generation struct {
	cfg Config
	log *slog.Logger

	ctx      context.Context // ends with Close, or when this generation is over
	cancel   context.CancelCauseFunc
	tasks    sync.WaitGroup // every goroutine that a generation starts
	started  event          // this generation owns, or never will
	released event          // it has been superseded for good, or is over

	quit      context.Context // ends when Close begins, and with it a Ready under way
	hurry     context.CancelCauseFunc
	back      context.Context // ends when the sockets went back to the predecessor; its cause is an ErrHandedBack
	yield     context.CancelCauseFunc
	readying  sync.Mutex // held throughout Ready; taken before mu
	stopping  sync.Mutex // held throughout stop; taken before mu
	rows      sync.Mutex // held while the row of the table that begins to serve, or ends it, is carried out; taken before mu
	yieldings sync.Mutex // held throughout handBack; taken before the lock of exclusive sections, rows and mu

	mu            sync.Mutex
	toPredecessor succession.Successor // what this generation is to the one before it
	toSuccessor   succession.Incumbent // and to the one after it
	phase         Phase                // follows from these two
	yielding      chan struct{}        // closed when handBack is done; nil if it is not under way
	news          chan struct{}        // closed when the phase changes, or an attempt ends

	number     int
	sealed     bool // the predecessor was told which ones there are: too late to register
	succession *superseding
	lost       error // why this generation cannot take over any more
	died       error // how the successor died after the guard, unwished
	stale      error // why it must not serve any more: its state is behind
	refused    error // why the last Listen failed, for a predecessor that wonders
	lastError  error
	closing    bool
	settled    bool          // they never will: the Sources were told
	closed     chan struct{} // Close is done
	pathless   bool          // Config.Path is empty
	supervised supervised
	proxies    bool // it takes over for a process that does not speak the protocol, see foreign_linux.go

	asked chan struct{} // the predecessor passes on a request for an upgrade

	sections state.Set      // of state; has a lock of its own, taken before mu
	sockets  sockets.Set    // listeners, packet sockets and files
	conns    *migrate.Conns // live connections that move
	host                    // for package serve

	chain // what differs by platform: peers, rendezvous, token
}

// superseding is one time of being superseded. A revival ends it and begins another.
type superseding struct {
	superseded event // the successor confirmed
	revived    event // the sockets came back

	mu     sync.Mutex
	drains []context.CancelCauseFunc // of the contexts of drain functions
	cause  error                     // why they have ended; nil: they have not
}

func newSuccession() *superseding {
	return &superseding{superseded: newEvent(), revived: newEvent()}
}

// drain has cancel called when the succession ends, or at once if it has.
func (s *superseding) drain(cancel context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		cancel(s.cause)
	}
	s.drains = append(s.drains, cancel)
}

// end ends the contexts of drain functions. They have ended when it returns, so that a drain does nothing any more for which
// it looks at its context first.
func (s *superseding) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cause = cause
	for _, cancel := range s.drains {
		cancel(cause)
	}
}

// event happens at most once, and everyone can wait for it.
type event struct {
	once *sync.Once
	c    chan struct{}
}

func newEvent() event { return event{once: new(sync.Once), c: make(chan struct{})} }

func (e event) happen() { e.once.Do(func() { close(e.c) }) }

func (e event) happened() bool {
	select {
	case <-e.c:
		return true
	default:
		return false
	}
}

// pathlessJoined is kept per process: the environment and the signals through which a Generation without a Path hands over
// belong to the process too, so two of them would take each other's successors. What transport
// tells Yama is the other such thing.
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
	g := newGeneration(c)
	g.pathless, g.supervised = pathless, given
	signals := make(chan os.Signal, 1)
	if len(c.Signals) > 0 {
		signal.Notify(signals, c.Signals...)
	}
	if err := g.join(ctx); err != nil {
		signal.Stop(signals)
		err = g.errorf("join", err)
		_ = g.Close()
		return nil, err
	}
	for _, s := range g.cfg.Sources { // with what a rescue has brought
		g.sockets.Sources = append(g.sockets.Sources, s)
	}
	g.task(func() { g.upgradeWhenAsked(signals) })
	return g, nil
}

// newGeneration makes one that is nobody's successor yet.
func newGeneration(c Config) *Generation {
	g := &Generation{
		cfg:        c,
		log:        c.Logger.With("generation", 1),
		started:    newEvent(),
		released:   newEvent(),
		closed:     make(chan struct{}),
		news:       make(chan struct{}),
		asked:      make(chan struct{}, 1),
		phase:      PhaseStarting,
		number:     1,
		succession: newSuccession(),
	}
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	g.quit, g.hurry = context.WithCancelCause(g.ctx)
	g.back, g.yield = context.WithCancelCause(context.Background())
	g.sockets.Log, g.sockets.Lock = g.log, g.withLock
	g.sockets.Opened, g.sockets.Closed = g.traceOpened, g.traceClosed
	g.conns = migrate.New(g.log, migrate.Config{
		Context:     g.ctx,
		Task:        g.task,
		StepTimeout: c.StepTimeout,
		Standing:    g.standing,
	})
	g.host = live.NewHost(g.addHolder)
	g.sections.Timeout, g.sections.Life, g.sections.Go = c.StateTimeout, g.ctx, g.task
	g.sections.Log = func() *slog.Logger { return g.log }
	return g
}

// Ready makes this generation the owner of the sockets and opens them: nil means that it owns. On an error it does not
// and never will; everything is as before for the predecessor.
//
// A successor proves here that it holds every socket, and the predecessor lets go. Sockets of the predecessor that were
// not asked for by now are closed once this generation has confirmed. Then Probation runs and Check is called, if
// configured, while Ready has returned and this generation serves.
func (g *Generation) Ready(ctx context.Context) error {
	g.readying.Lock() // a second call waits for what the first one finds
	defer g.readying.Unlock()
	g.mu.Lock()
	if g.phase != PhaseStarting || g.closing {
		defer g.mu.Unlock()
		switch {
		case g.closing || g.phase == PhaseStopped:
			return &Error{Op: "ready", Phase: g.phase, Err: g.closedLocked()}
		case g.phase.owner():
			return nil
		default:
			return &Error{Op: "ready", Phase: g.phase, Err: ErrNotOwner}
		}
	}
	g.tasks.Add(1) // here, where Close has not begun to wait
	g.mu.Unlock()
	defer g.tasks.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(g.quit, func() { cancel(context.Cause(g.quit)) })()
	if err := g.own(ctx); err != nil {
		err = g.errorf("ready", err)
		g.log.Error("this generation does not take over", "error", err)
		g.stop()
		return err
	}
	return nil
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
	return g.errorf("upgrade", g.upgrade(ctx))
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
func (g *Generation) Released() <-chan struct{} { return g.released.c }

// Status returns a snapshot.
func (g *Generation) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Status{Generation: g.number, PID: os.Getpid(), Phase: g.phase, LastError: g.lastError}
	s.Predecessor, s.Successor = g.peersLocked()
	s.Arrived, s.Moved = g.conns.Count()
	for _, o := range g.sockets.All() {
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
	g.mu.Lock()
	if g.closing {
		g.mu.Unlock()
		<-g.closed
		return nil
	}
	g.closing = true
	g.mu.Unlock()
	g.hurry(net.ErrClosed)
	g.readying.Lock() // a Ready under way finds out first whether it owns
	if g.currentPhase().owner() {
		if err := g.sections.HoldExclusive(context.Background(), nil); err != nil {
			g.log.Error("closed although something that only one process may have is not let go of; end this process", "error", err)
		}
	}
	g.leave() // before the links are closed
	g.readying.Unlock()
	g.flush(time.Now(), g.cfg.StopTimeout)
	g.cancel(net.ErrClosed)
	g.tasks.Wait()
	g.stop()
	if g.pathless {
		pathlessJoined.Store(false)
	}
	close(g.closed)
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
	if g.handBack(cause) {
		return nil
	}
	return g.Close()
}

// stop gives up everything that this generation holds. What it owned is closed, what somebody else owns is let go of.
func (g *Generation) stop() {
	g.stopping.Lock()
	defer g.stopping.Unlock()
	g.mu.Lock()
	owner := g.phase.owner()
	all := g.sockets.Take()
	tell := g.endStatesLocked()
	g.mu.Unlock()
	tell()

	g.released.happen() // before Accept says so
	for _, s := range all {
		_ = s.CloseAs(owner || s.Sole())
	}
	if owner {
		for _, name := range g.pidFiles() {
			pidfile.Remove(name)
		}
	}
	g.letGo(owner)
	g.started.happen()
	g.cancel(net.ErrClosed)
}

// pidFiles are those of the program, and of its supervisor.
func (g *Generation) pidFiles() []string {
	return slices.DeleteFunc([]string{g.cfg.PIDFile, g.supervised.pidFile}, func(name string) bool { return name == "" })
}

// writePIDFiles names this process in the PID files, if there are to be any.
func (g *Generation) writePIDFiles() {
	for _, name := range g.pidFiles() {
		if err := pidfile.Write(name); err != nil {
			g.log.Error("the PID file was not written", "path", name, "error", err)
		}
	}
}

// task runs f in a goroutine that Close waits for.
func (g *Generation) task(f func()) {
	g.tasks.Add(1)
	go func() {
		defer g.tasks.Done()
		f()
	}()
}

// openLocked opens every socket. On an error none is open.
func (g *Generation) openLocked() error {
	if g.closing {
		return net.ErrClosed
	}
	return g.sockets.Open()
}

// closedLocked is the error of a generation that is over: net.ErrClosed, and why.
func (g *Generation) closedLocked() error {
	if g.lost != nil && !errors.Is(g.lost, net.ErrClosed) {
		return fmt.Errorf("%w: %w", net.ErrClosed, g.lost)
	}
	return net.ErrClosed
}

// errorf wraps err once, with the operation and the phase. Nil stays nil.
func (g *Generation) errorf(op string, err error) error {
	if err == nil {
		return nil
	}
	var already *Error
	if errors.As(err, &already) {
		return err
	}
	return &Error{Op: op, Phase: g.currentPhase(), Err: err}
}
