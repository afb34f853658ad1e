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

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/chronicle"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/migrate"
	"github.com/segue-go/segue/handoff/internal/rendezvous"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/spawn"
	"github.com/segue-go/segue/handoff/internal/state"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/token"
	"github.com/segue-go/segue/handoff/internal/transport"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// attempt is one try to hand over to one successor. Only one is under way at a time (Driver.attempt).
type attempt struct {
	d      *Driver
	link   *link.Link
	kind   successorKind
	child  *spawn.Child // of kindChild, once it is started
	hello  *wire.Hello
	caller Peer      // who has said it, as the kernel says; before it is known to be authorized
	token  ownership // of no token until it is made

	other Peer // of kindProxy: the process for which it is; guarded by Driver.mu

	version    int      // the highest in common
	features   []string // in common
	moves      bool     // live connections move
	returns    bool     // they come back, if the sockets do
	heir       bool     // the successor was told that nobody older can be revived
	offerTaken bool     // the successor has everything

	manifest      manifest // nothing until the offer
	items         int      // how many things were, with the standard output
	confirmWithin time.Duration
	confirmOver   event // made with the commit, if CONFIRM is to follow at once; happens with it, or when it will not come

	owesSince       time.Time               // since when the successor has not answered an OFFER; zero: it owes no answer. Guarded by Driver.mu
	upgradePassedOn bool                    // the successor was asked to upgrade. Guarded by Driver.mu
	displace        context.CancelCauseFunc // ends the preparation. Guarded by Driver.mu
	departureKnown  bool                    // it is decided whether connections depart; guarded by Driver.mu
	endKnown        event                   // made with the guard; happens when it is known why a released successor has gone
	departure       *migrate.Departure      // of connections to the successor, once it has confirmed
	sections        state.Sender

	// What follows belongs to the driver, which is one goroutine.
	ctx             context.Context // of the caller of Upgrade; bounds all up to the commit
	confirmed       func()
	lastEvent       succession.IncumbentEvent
	frame           wire.Message   // the last frame
	queued          []wire.Message // read, and not decided yet
	drops           []*wire.Drop   // of a successor that may own
	entered         time.Time      // when the state was
	guardEnds       time.Time
	guardReported   bool  // its end was reported
	linkEnded       bool  // the link has ended
	deathReported   bool  // the successor's death was reported
	reportedBlocked bool  // the operator was told that the successor cannot be killed
	superseded      bool  // it has confirmed
	done            bool  // nothing is to be decided any more: another attempt may have begun
	failed          bool  // this generation has the sockets back, or is stale
	cause           error // why the attempt fails, if it does

	rec         *record
	pulled      bool              // the successor has taken the descriptors
	pastSent    bool              // the successor may go on with the totals
	totalsBack  *chronicle.Report // with what this generation goes on when it has the sockets back; guarded by annals.mu
	reportsNow  atomic.Bool       // they agreed on reports
	retires     atomic.Bool       // they agreed on RETIRE
	reporting   sync.Mutex        // guards what follows
	reported    uint64            // what the successor knows of the book
	said        said
	reportedAt  time.Time
	stopReports chan struct{} // closed when there is nobody any more to report to; nil: nobody reports

	mayHaveOwned bool // the successor had the token, or may have had it: for the record
	handedBack   bool // the successor has put the token back
	linkGiven    bool // its connections return: the link belongs to a returner
}

// successorKind is who started a successor.
type successorKind uint8

const (
	kindCaller successorKind = iota // somebody else: it called at the rendezvous
	kindChild                       // this process
	kindProxy                       // it is in this process, see foreign_linux.go
)

// newAttempt is an attempt in which nothing has happened yet. l is nil if the successor is still to be started.
func newAttempt(d *Driver, k successorKind, l *link.Link) *attempt {
	return &attempt{d: d, kind: k, link: l, token: token.Token{}, manifest: &sockets.Manifest{}, departure: migrate.NoDeparture()}
}

// pid is the process id of the successor; 0 if it is still being started. It is called with Driver.mu held.
func (a *attempt) pid() int {
	if a.link == nil || a.link.Peer == nil {
		return 0 // it is still being started
	}
	return a.link.Peer.PID
}

func (a *attempt) pidNow() int {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	return a.pid()
}

// serveCaller serves one caller at the rendezvous. It takes conn. ctx is for as long as the caller is silent; spoke is called
// when it is not any more.
func (d *Driver) serveCaller(ctx context.Context, conn *net.UnixConn, spoke func()) {
	called := time.Now()
	a := newAttempt(d, kindCaller, nil)
	options := d.linkOptions("successor", true)
	options.Aside = a.heard
	l := link.New(conn, options)
	a.link = l
	err := a.awaitHello(ctx)
	spoke()
	if err == nil {
		err = d.beginAttempt(d.ctx, a)
	}
	if err != nil {
		d.log.Warn("a caller was turned away", "error", err)
		a.turnedAway(called, err)
		_ = l.Send(refusal(err))
		l.Close()
		return
	}
	if !a.dry() { // which is no handoff
		a.rec = d.begin(newID(), timeline.Incumbent, timeline.CauseCaller, called)
	}
	a.rec.stage(timeline.StageHello)
	a.metSuccessor()
	err = a.handOver(d.ctx, func() {})
	if err != nil && !errors.Is(err, state.ErrStale) { // endStale has said that
		d.log.Error("handover failed", "successor", a.pidNow(), "error", d.failure("upgrade", err))
	}
	a.conclude(err)
	d.endAttempt(a)
}

// awaitHello waits for HELLO. It gives an error for a process that is not authorized, or has no version of the protocol in common.
func (a *attempt) awaitHello(ctx context.Context) error {
	patience := a.d.cfg.StepTimeout
	if a.kind == kindChild {
		patience = a.d.cfg.ReadyTimeout // it has to start first
	}
	f, err := a.link.Recv(ctx, patience)
	if errors.Is(err, link.ErrProtocol) || errors.Is(err, fdpass.ErrTruncated) {
		return fmt.Errorf("its first word: %w", err)
	}
	if err != nil {
		return fmt.Errorf("before its first word: %w", err)
	}
	defer f.Raw.Close()
	hello, isHello := f.Msg.(*wire.Hello)
	if !isHello {
		return a.link.Unexpected(f.Msg)
	}
	if c := f.Raw.Cred; c != nil {
		a.caller = Peer{PID: c.PID, UID: c.UID, GID: c.GID}
	}
	p, err := a.d.introduce(a.link, f)
	if err != nil {
		return err
	}
	a.d.mu.Lock() // others ask for pid
	// The process that speaks is the successor. The one that was started may be a wrapper of it.
	a.link.Peer, a.hello = p, hello
	a.d.mu.Unlock()
	if err := a.link.Introduced(); err != nil {
		return err
	}
	if os.Getpid() == 1 && p.PID != 0 && !p.Self() {
		return errInit
	}
	var common bool
	if a.version, common = wire.Negotiate(wire.Versions(), hello.Versions); !common {
		return fmt.Errorf("%w: we speak %v, process %d (%s) speaks %v", link.ErrVersion, wire.Versions(), p.PID, hello.Name, hello.Versions)
	}
	a.features = wire.Common(a.d.features(), hello.Features)
	a.moves = slices.Contains(a.features, featureConns)
	a.reportsNow.Store(slices.Contains(a.features, featureTimeline))
	a.retires.Store(slices.Contains(a.features, featureRetire))
	a.returns = a.moves && slices.Contains(a.features, featureReturn)
	_, err = transport.Agreed(a.features, a.d.cfg.PullOnly, a.link)
	return err
}

// refusal answers a HELLO that leads nowhere.
func refusal(err error) wire.Message {
	var busy *BusyError
	switch {
	case errors.As(err, &busy):
		return &wire.Busy{PID: busy.PID, Name: busy.Name, Phase: busy.Phase, Owner: os.Getpid()}
	case errors.Is(err, link.ErrUnauthorized):
		return &wire.Refuse{Code: wire.CodeUnauthorized, Reason: "ask the incumbent's log why"}
	case errors.Is(err, link.ErrVersion):
		return &wire.Refuse{Code: wire.CodeVersion, Versions: wire.Versions(), Reason: err.Error()}
	case errors.Is(err, link.ErrTransport):
		return &wire.Refuse{Code: wire.CodeTransport, Reason: err.Error()}
	case errors.Is(err, errInit), errors.Is(err, errors.ErrUnsupported):
		return &wire.Refuse{Code: wire.CodeUnsupported, Reason: err.Error()}
	case spares.OutOfDescriptors(err):
		return rendezvous.NoDescriptors(err)
	case errors.Is(err, net.ErrClosed), errors.Is(err, ErrNotOwner):
		return &wire.Refuse{Code: wire.CodeStopping, Reason: err.Error()}
	default:
		return &wire.Refuse{Code: wire.CodeMalformed, Reason: err.Error()}
	}
}

// impatience is for how long a successor may leave an OFFER unanswered while another one waits.
const impatience = time.Second

// beginAttempt makes a the attempt under way; endAttempt must follow. The error names the process that is busy with another. If the
// successor of another attempt does not answer its OFFER, or that attempt is a dry run, a takes its place, and beginAttempt waits for
// that. An attempt of this process goes before callers: otherwise one caller after the other could keep it from upgrading.
func (d *Driver) beginAttempt(ctx context.Context, a *attempt) error {
	var displaced *attempt
	own, saidWait := a.kind != kindCaller, false
	for first := true; ; first = false {
		d.mu.Lock()
		other, news := d.attempt, d.news
		if other == nil || !other.yields() && other != displaced || other.dry() && a.dry() {
			defer d.mu.Unlock()
			if own && !first {
				d.waiting--
			}
			return d.beginAttemptLocked(a, own)
		}
		if own && first {
			d.waiting++
		}
		wait := time.Until(other.owesSince.Add(impatience)) // 0 for a dry run that owes nothing
		if wait <= 0 {
			if other != displaced {
				displaced = other
				other.displace(errDisplaced)
			}
			wait = d.cfg.StepTimeout // it ends at once
		}
		phase := d.phase
		d.mu.Unlock()
		if !own && !saidWait {
			saidWait = true
			_ = a.link.Tell(&wire.Wait{Phase: phase.String()}) // it may have little patience
		}
		t := time.NewTimer(wait)
		select {
		case <-news:
		case <-ctx.Done():
			t.Stop()
			if own {
				d.mu.Lock()
				d.waiting--
				d.mu.Unlock()
			}
			return context.Cause(ctx)
		case <-t.C:
		}
		t.Stop()
	}
}

// beginAttemptLocked makes a the attempt under way; own: this process has asked for it.
func (d *Driver) beginAttemptLocked(a *attempt, own bool) error {
	if other := d.attempt; other != nil {
		busy := &BusyError{PID: other.pid(), Phase: d.phase.String()}
		if other.hello != nil {
			busy.Name = other.hello.Name
		}
		return busy
	}
	if d.waiting > 0 && !own {
		return &BusyError{PID: os.Getpid(), Name: d.origin.Name(), Phase: d.phase.String()}
	}
	switch {
	case d.endsLocked():
		return net.ErrClosed
	case d.phase == succession.PhaseProbation: // this generation has itself to prove first
		return &BusyError{PID: os.Getpid(), Name: d.origin.Name(), Phase: d.phase.String()}
	case d.phase != succession.PhaseServing && d.phase != succession.PhaseStarting:
		return ErrNotOwner
	}
	d.attempt = a
	d.tasks.Add(1) // here, where Close has not begun to wait
	return nil
}

// owe notes since when the successor owes an answer; the zero time: it does not.
func (a *attempt) owe(since time.Time) {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	a.owesSince = since
	a.d.tellNewsLocked()
}

// endAttempt undoes beginAttempt.
func (d *Driver) endAttempt(a *attempt) {
	d.closeAttempt(a)
	d.tasks.Done()
}

// closeAttempt ends a for everybody but its own goroutine: the next attempt can begin.
func (d *Driver) closeAttempt(a *attempt) {
	a.token.Close()
	if a.link != nil && !a.linkGiven {
		a.link.Close()
	}
	d.keepAfterAttempt()
	d.freeForNext(a)
	a.confirmOver.happen()
}

// freeForNext lets another attempt begin.
func (d *Driver) freeForNext(a *attempt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.attempt == a {
		d.attempt = nil
		d.tellNewsLocked()
	}
}

// prepare does all that comes before the switch, and returns how that ends. If it fails, this generation is as it was before.
func (a *attempt) prepare(ctx context.Context) succession.IncumbentEvent {
	d := a.d
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.mu.Lock()
	a.displace = cancel
	d.mu.Unlock()
	defer context.AfterFunc(d.ctx, func() { cancel(context.Cause(d.ctx)) })()
	defer context.AfterFunc(d.handedBack, func() { cancel(net.ErrClosed) })() // there is nothing to hand over any more
	var err error
	if a.kind != kindCaller {
		err = a.awaitHello(ctx) // a caller at the rendezvous has said it
		if err == nil {
			a.metSuccessor()
		}
	}
	if err == nil {
		err = a.awaitReady(ctx)
	}
	if err == nil {
		a.rec.stage(timeline.StageOffer)
		err = a.offer(ctx)
	}
	if err == nil {
		a.noteOffered()
	}
	if err == nil {
		err = a.awaitReceipts(ctx)
	}
	if err == nil && a.hello.DryRun {
		err = errDryRun
	}
	if err == nil {
		a.preparedNow()
		err = a.sections.SendAhead(ctx)
		a.rec.stageEnds(timeline.StageState)
	}
	if err == nil {
		err = d.releaseAncestor(ctx)
	}
	if err == nil {
		return succession.Agreed
	}
	a.cause = err
	e := a.endsWith(err, succession.AttemptFailed)
	if e == succession.AttemptFailed {
		a.cause = a.link.Explain(err)
	}
	return e
}

// dismiss says ABORT to a successor that does not own, and waits until it has hung up. By then it has closed its copies of the
// sockets.
func (a *attempt) dismiss(cause error) {
	if errors.Is(cause, link.ErrPeerDied) {
		return
	}
	var m wire.Message = abort(cause)
	if !a.token.Exists() && errors.Is(cause, net.ErrClosed) {
		m = refusal(cause) // without WELCOME it can still become the first of a new chain
	}
	said := a.link != nil && a.link.Send(m) == nil
	if errors.Is(cause, errDisplaced) {
		a.d.freeForNext(a) // another one waits, and this may not hang up for long
	}
	if !said || a.link.Peer == nil || a.link.Peer.Self() {
		return
	}
	if a.kind == kindChild && a.child.Peer.PID == a.link.Peer.PID {
		return // it is going to be ended anyway; one that a wrapper has started is not
	}
	// A successor that is alive gives up its copies of the sockets and hangs up. One that does not would keep the ports
	// open for ever with nobody behind.
	ctx, cancel := context.WithTimeout(context.Background(), a.d.cfg.StepTimeout)
	defer cancel()
	for {
		f, err := a.link.Recv(ctx, 0)
		if err == nil {
			f.Raw.Close()
			continue
		}
		if ctx.Err() != nil {
			kill := a.link.Peer.Kill()
			a.d.log.Warn("the failed successor did not hang up and was killed", "successor", a.link.Peer.PID, "error", kill)
		}
		return
	}
}

// leaveToHeir leaves the sockets to a successor that somebody else started, when this generation is closed before the
// commit: this generation stops to accept, then says goodbye, and the successor takes the token when it is ready.
func (a *attempt) leaveToHeir() {
	d := a.d
	a.rec.result(timeline.Left, nil)
	d.log.Info("closed; the sockets are left to the successor that prepares itself", "successor", a.pidNow())
	if err := d.park(); err != nil {
		d.log.Error("a socket does not pause", "error", err)
	}
	if err := a.link.Send(&wire.Goodbye{Reason: "closed; the sockets are yours"}); err != nil {
		d.log.Error("nobody is left to serve", "error", err)
	}
}
