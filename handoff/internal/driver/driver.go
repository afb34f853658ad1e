// Package driver runs the tables of package succession for one generation, which is the successor of the one before it and the
// incumbent for the one after it. Each side has one loop, which makes events of frames, deaths, deadlines and calls of the
// program, has the table decide, and carries the actions out. What comes before the commit is a straight line that fails as one.
//
// A [Driver] owns the two states of the tables and the phase that follows from them, the attempt that is under way, and the
// predecessor. Package handoff has one for each Generation, and gives it the types of its API.
package driver

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/handoff/internal/chronicle"
	"github.com/segue-go/segue/handoff/internal/migrate"
	"github.com/segue-go/segue/handoff/internal/pidfile"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/state"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/timeline"
)

// Phase is where a generation stands.
type Phase = succession.Phase

// Driver drives one generation. Make it with [New], then call Join, and end it with Close. Methods may be called from any
// goroutine.
type Driver struct {
	Sockets  sockets.Set    // listeners, packet sockets and files
	Sections state.Set      // of state
	Conns    *migrate.Conns // live connections that move

	held  held // Sockets
	cfg   Config
	log   *slog.Logger
	trace *timeline.Trace // not nil

	ctx      context.Context // ends with Close, or when this generation is over
	cancel   context.CancelCauseFunc
	tasks    sync.WaitGroup // every goroutine that a generation starts
	started  event          // this generation owns, or never will
	released event          // it has been superseded for good, or is over

	closeBegun    context.Context // ends when Close begins, and with it a Ready under way
	beginClose    context.CancelCauseFunc
	handedBack    context.Context // ends when the sockets went back to the predecessor; its cause is an ErrHandedBack
	setHandedBack context.CancelCauseFunc
	readying      sync.Mutex        // held throughout Ready; taken before mu
	stopping      sync.Mutex        // held throughout stop; taken before mu
	rows          sync.Mutex        // held while the row of the table that begins to serve, or ends it, is carried out; taken before mu
	supervisor    sync.Mutex        // held while its PID file is written; taken last
	nameReady     *pidfile.Prepared // what prepareName has made
	handback      sync.Mutex        // held throughout HandBack; taken before the lock of exclusive sections, rows and mu

	mu            sync.Mutex
	toPredecessor succession.Successor // what this generation is to the one before it
	toSuccessor   succession.Incumbent // and to the one after it
	phase         Phase                // follows from these two
	handingBack   bool                 // HandBack is under way: what the predecessor says waits for its end
	news          chan struct{}        // closed when the phase changes, or an attempt or a hand-back ends
	journal       journal              // of the last phases

	number      int
	numberNow   atomic.Int64 // the same, for code that must not take the lock
	sealed      bool         // the predecessor was told which sections there are: too late to register
	superseding *superseding
	whyOver     error // why this generation cannot take over any more
	died        error // how the successor died after the guard, unwished
	stale       error // why it must not serve any more: its state is behind
	refused     error // why the last Claim failed, for a predecessor that wonders
	lastError   error
	closing     bool // Close has begun: ask endsLocked
	settled     bool // the sockets will never go back: Config.Settled was called
	named       bool // in the supervisor's PID file; under supervisor
	proxies     bool // it takes over for a process that does not speak the protocol, see foreign_linux.go

	upgradeAsked chan struct{} // the predecessor passes on a request for an upgrade

	annals   annals       // records of handoffs
	watchers atomic.Int32 // who watches at the control socket

	chain // what differs by platform: peers, rendezvous, token
}

// held is what the driver has all sockets do together: [sockets.Set]. See borders_linux.go.
type held interface {
	Arm() error
	Open() error
	Park(rendezvous *sockets.Socket) error
	Own() []*sockets.Socket
	Vacate()
	CloseUnclaimed()
}

// New returns a Driver of a generation that is nobody's successor yet.
func New(c Config) *Driver {
	d := &Driver{
		cfg:          c,
		log:          c.Logger.With("generation", 1),
		started:      newEvent(),
		released:     newEvent(),
		news:         make(chan struct{}),
		upgradeAsked: make(chan struct{}, 1),
		number:       1,
		trace:        c.Trace,
		superseding:  newSuperseding(),
	}
	d.numberNow.Store(1)
	d.annals.book, d.annals.born = chronicle.NewBook(now()), time.Now()
	if d.trace == nil {
		d.trace = &timeline.Trace{}
	}
	d.ctx, d.cancel = context.WithCancelCause(context.Background())
	d.closeBegun, d.beginClose = context.WithCancelCause(d.ctx)
	d.handedBack, d.setHandedBack = context.WithCancelCause(context.Background())
	d.held = &d.Sockets
	d.Sockets.Log, d.Sockets.Lock = d.log, d.withLock
	d.Sockets.Opened, d.Sockets.Closed = c.Opened, c.Closed
	d.Conns = migrate.New(d.log, migrate.Config{
		Context:     d.ctx,
		Task:        d.task,
		StepTimeout: c.StepTimeout,
		Standing:    d.standing,
		Told:        d.noteConns,
	})
	d.initChain()
	d.Sections.Timeout, d.Sections.Life, d.Sections.Go = c.StateTimeout, d.ctx, d.task
	d.Sections.Told = d.noteSection
	d.Sections.Log = func() *slog.Logger { return d.log }
	return d
}

// Join finds the incumbent and succeeds it, or makes this generation the first. If it fails, Close is still to be called.
func (d *Driver) Join(ctx context.Context) error {
	signals := make(chan os.Signal, 1)
	if len(d.cfg.Signals) > 0 {
		signal.Notify(signals, d.cfg.Signals...)
	}
	if err := d.join(ctx); err != nil {
		signal.Stop(signals)
		return err
	}
	d.task(func() { d.upgradeWhenAsked(signals) })
	return nil
}

// Released is closed once this generation will never serve again.
func (d *Driver) Released() <-chan struct{} { return d.released.c }

// Phase is where the generation stands.
func (d *Driver) Phase() Phase {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.phase
}

// Status is a snapshot.
type Status struct {
	Number      int
	Phase       Phase
	Predecessor int // process id; 0: there is none
	Successor   int
	Sockets     []*sockets.Socket
	Arrived     int
	Moved       int
	LastError   error // nil, or a [Failure]
}

// Status returns a snapshot.
func (d *Driver) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Status{Number: d.number, Phase: d.phase, Sockets: d.Sockets.All(), LastError: d.lastError}
	s.Predecessor, s.Successor = d.peersLocked()
	s.Arrived, s.Moved = d.Conns.Count()
	return s
}

// task runs f in a goroutine that Close waits for.
func (d *Driver) task(f func()) {
	d.tasks.Add(1)
	go func() {
		defer d.tasks.Done()
		f()
	}()
}

// Register adds a section of state, before Ready.
func (d *Driver) Register(s *state.Section) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.endsLocked():
		return d.closedLocked()
	case d.sealed || d.phase != succession.PhaseStarting:
		return state.Refuse(s.Name, "State comes before Ready")
	}
	return d.Sections.Add(s)
}
