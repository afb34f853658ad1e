package handoff

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/segue-go/segue/handoff/internal/driver"
)

// Config says how a generation is joined, hands over and is replaced. Its zero value works: successors are then only
// spawned, by [Generation.Upgrade].
type Config struct {
	// Path is the rendezvous, the Unix socket on which the incumbent awaits a successor. It is created with mode 0600,
	// and so are a lock file beside it, Path + ".lock", and the socket at which package control asks, Path + ".control", for which
	// Path has at most 98 bytes. All are removed by the last generation that stops for good, and made
	// again, if somebody else removed them, at the next upgrade. Who may create files in the directory may
	// keep a server from starting there, so choose one like /run/app. Empty: the path in the environment variable
	// SEGUE_RENDEZVOUS, which "segue run" sets for the program that it starts, and which Join removes; if that is not set
	// either, no rendezvous. At most one such Generation per process.
	Path string

	// ListenConfig is used by Listen and ListenPacket for sockets that are bound afresh. Its keep-alive settings travel
	// with the sockets and hold for a successor whose own settings are zero. The rest has no effect on a socket that exists
	// already: Control is not called for it, and multipath TCP stays on or off. Where that can be seen, the log says so.
	ListenConfig net.ListenConfig

	// Sources are asked, in order, for sockets that did not come from the predecessor, before they are bound.
	Sources []Source

	// Command makes the command that Upgrade starts. Nil: this program with os.Args, the environment and the directory of
	// Join, looked up anew, so that a replaced binary or symbolic link is followed; if os.Args[0] does not lead to the
	// program that runs, by the path as which it was executed. Standard output and error that are nil or an *os.File are
	// shown through to this process's own (or that file) and their last lines kept for the error of Upgrade. What is
	// written to an io.Writer is lost when this process has ended.
	//
	// An Env that is nil is the environment of Join. Variables and descriptors that segue needs are added to Env and
	// ExtraFiles. Pdeathsig and the context of exec.CommandContext have no effect: a successor outlives this process. If
	// this process leads the session of a terminal, the successor gets a process group of its own, unless SysProcAttr says
	// otherwise.
	Command func() *exec.Cmd

	// Siblings has Upgrade start successors as children of this process's parent (CLONE_PARENT, clone(2)). It is for a parent
	// that supervises, such as systemd: it then learns how a successor ended, which it does not of a child of somebody else.
	// Package systemd sets it where that is so. The parent must reap children that it did not start. How a successor ended
	// that failed, this process then knows from Linux 6.15 on ([ChildError]). Process 1 has no parent, and starts nothing.
	Siblings bool

	// Signals each start an Upgrade. They are installed by Join, acted on from Ready, and given back by Close. SIGHUP is what
	// supervisors send for that. A terminal that is closed sends it too: a program that is started by hand then upgrades,
	// and serves on without a terminal, instead of ending.
	Signals []os.Signal

	// Probation is how long this generation serves, as a successor, before it confirms. Until it confirms, an end of
	// any kind but a wished one gives the sockets back. Live connections stay with the predecessor until then, so that
	// a version that soon fails does not take them along. Default: none.
	Probation time.Duration

	// Check is called once, as a successor, after it owns the sockets and after Probation, with a context that ends
	// after ReadyTimeout. Nil confirms; an error hands everything back, as by Fail, and is returned by Wait. What this
	// generation has accepted until then it answers first, and its connections go to the predecessor. If that is gone by
	// then, there is nobody to hand back to: this generation serves on, and Status has the error.
	Check func(context.Context) error

	// ReadyTimeout is how long a successor may take to start until it joins, again from there to Ready, and a Check to
	// return. Default: 1 minute.
	ReadyTimeout time.Duration

	// StepTimeout bounds each single message of the protocol. Default: 5 seconds.
	StepTimeout time.Duration

	// StateTimeout bounds what sections of state may take up to the commit: to wait for the requests in flight, while all
	// is served on, to hold what is left, to save and to restore. What is sent ahead has the same time, for all sections
	// again. Default: 10 seconds. See [Section].
	StateTimeout time.Duration

	// DrainTimeout bounds the context given to Wait's drain function, and the time that a successor has which Upgrade has
	// started and which failed its Check, to answer what it has accepted. Default: 1 minute. Negative: no bound.
	DrainTimeout time.Duration

	// StopTimeout bounds what Close waits for, and serve.Run once its context has ended: answers and connections that
	// are still to be seen off, of a generation that is superseded and drains as well. A supervisor starts nothing anew as long
	// as processes of the service live. Default: DrainTimeout. Negative: serve.Run waits without a bound, and Close for a minute.
	StopTimeout time.Duration

	// Guard is how long the incumbent can be revived after the successor has confirmed. Default: 3 seconds. Negative: only
	// until the successor has said that it lives, which is asked at once.
	Guard time.Duration

	// Authorize decides who may take part in a handoff with this process, in either role. Nil: the same user (but not
	// nobody, whose uid 65534 is also that of users without a number here), or root, by the effective id with which the
	// connection was made (SO_PEERCRED) and the real id of who speaks (SCM_CREDENTIALS). It replaces that rule. It is
	// called before a socket or a byte of state moves, and must not block.
	Authorize func(Peer) error

	// Transport is how descriptors come to a successor. Default: automatic. While one takes them by pidfd_getfd, it is this
	// process's PR_SET_PTRACER (prctl(2)); what the program had set there is lost, and Generations of one process that hand
	// over at the same time take turns.
	Transport Transport

	// Rescue, if not nil, is called by Join for an incumbent that is there but answers nothing within StepTimeout: one
	// that is stopped or deadlocked. It returns a Source with the sockets that it has taken from that process, without
	// its help. Join then kills the process, sees it dead, and becomes the first of a new chain, which gets its sockets
	// from that Source. process.Rescue does it. What the incumbent had accepted is lost with it; what waits in the queues
	// of its sockets is not. Nil: Join returns an error.
	//
	// Before, Join makes sure that the process holds the rendezvous and that Path + ".lock" is there, which takes what
	// pidfd_getfd(2) takes; what else listens at Path is left alone. Rescue is called with that lock held, so it must not
	// use Path. If the incumbent ends by itself meanwhile, the Source is told PhaseStopped and never asked. Of several that
	// rescue at once, one becomes the first, the others its successors, or their Join returns [ErrBusy].
	Rescue func(ctx context.Context, incumbent Peer) (Source, error)

	// PIDFile is replaced, atomically, with this process's id once it has confirmed, and put back when it is revived.
	// Removed by Close if it still names this process. Empty: none. A supervisor that gives the rendezvous, Path, by
	// SEGUE_RENDEZVOUS may ask for one more PID file, for itself, by SEGUE_PIDFILE. That one is replaced just before a process
	// confirms, and has the word "superseded" after the number of a process that is, by one that has not named itself there.
	PIDFile string

	// Init is for a program that may be process 1 of a PID namespace, such as a container, whose end ends all others in it. If
	// this process is that, Join starts the program again, as the first generation, and never returns: this process stays as
	// PID 1, reaps orphans, and passes signals on: SIGTERM, SIGINT and SIGQUIT to all processes of the namespace, others to the
	// one that serves. It exits when that has ended and no other has taken its place, with its status, or 128 and the number of
	// the signal that ended it. No deferred call of main is run, and ctx has no effect. So Join should be among the first things
	// that main does: what comes before it is done in PID 1, too, and again in the process below.
	//
	// Sockets that PID 1 was given by LISTEN_FDS are the process's below, if it takes them by package systemd. What something else
	// has taken before Join, such as tableflip.Inherit, stays with PID 1. Init needs a directory for temporary files. In any
	// other process it has no effect. "segue run" does the same for any program, and starts it again if it crashes.
	Init bool

	// Logger receives what an operator wants to know. Nil: silent.
	Logger *slog.Logger

	// Trace observes. Nil: nobody does, which costs nothing.
	Trace *Trace
}

// Peer is the process at the other end, as the kernel vouches for it (SCM_CREDENTIALS, unix(7)).
type Peer struct {
	PID int // as seen in this process's namespace; 0 if it has no number there
	UID uint32
	GID uint32
}

const (
	defaultReadyTimeout = time.Minute
	defaultStepTimeout  = 5 * time.Second
	defaultStateTimeout = 10 * time.Second
	defaultDrainTimeout = time.Minute
	defaultGuard        = 3 * time.Second
)

// withDefaults gives c with its zero durations filled in and its paths made absolute, so that a later chdir changes
// nothing.
func (c Config) withDefaults() (Config, error) {
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	if c.ReadyTimeout < 0 || c.StepTimeout < 0 || c.Probation < 0 || c.Probation > driver.MaxConfirm {
		return c, errors.New("ReadyTimeout and StepTimeout must not be negative, and Probation be within 0 and 24 hours")
	}
	set(&c.ReadyTimeout, defaultReadyTimeout)
	set(&c.StepTimeout, defaultStepTimeout)
	if c.StateTimeout < 0 || c.StateTimeout > driver.MaxState {
		return c, errors.New("StateTimeout must be within 0 and 24 hours")
	}
	set(&c.StateTimeout, defaultStateTimeout)
	if err := c.Transport.check(); err != nil {
		return c, err
	}
	set(&c.DrainTimeout, defaultDrainTimeout)
	set(&c.StopTimeout, c.DrainTimeout)
	set(&c.Guard, defaultGuard)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, p := range []*string{&c.Path, &c.PIDFile} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return c, err
		}
		*p = abs
	}
	return c, nil
}
