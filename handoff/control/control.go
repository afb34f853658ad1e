// Package control asks a running chain of generations: what it is doing and has done, to upgrade, to end what drains, and to stop. The
// generation that serves answers, on a Unix socket beside the rendezvous, handoff.Config.Path + ".control". The command segue is made of it.
//
//	err := (&control.Client{Path: "/run/app/segue.sock"}).Upgrade(ctx, nil)
//
// Who may take part in a handoff may ask: the same user, or root, or whom handoff.Config.Authorize lets. It takes Linux.
package control

import (
	"errors"
	"fmt"
	"time"

	"github.com/segue-go/segue/handoff/internal/control"
	"github.com/segue-go/segue/handoff/timeline"
)

// Errors of a [Client], for [errors.Is]. Each is within an [*Error].
var (
	// ErrNobody: no process serves at this path.
	ErrNobody = errors.New("nobody is there; start the program")
	// ErrForbidden: the path, or the process there, is somebody else's.
	ErrForbidden = errors.New("not allowed; ask as the user who runs it, or as root")
	// ErrSilent: a process is there and does not answer.
	ErrSilent = errors.New("it does not answer; it is stopped, or stuck, or very busy")
	// ErrNoControl: a process is at the rendezvous, and does not answer requests: it is of an older release, or has not become
	// ready yet, or could not open its control socket, which its log says then.
	ErrNoControl = errors.New("the process there answers no requests; it is of an older version, or still starting, or its log says why")
	// ErrNoChain: what is at this path is no rendezvous.
	ErrNoChain = errors.New("that is no rendezvous of segue")
	// ErrFailed: the upgrade, the stop, or what else was asked for, failed. The error says whether the generation that was asked serves on.
	ErrFailed = errors.New("failed")
	// ErrBusy: another upgrade is under way; or, of Watch, too many watch already.
	ErrBusy = errors.New("busy; try again when that has ended")
	// ErrUnknownRequest: the process is of an older release, and does not know this request.
	ErrUnknownRequest = errors.New("the process does not know this request")
	// ErrLost: the process accepted the request and has said nothing about its end. See its log.
	ErrLost = errors.New("it is not known how it ended")
)

// Error says what was asked, where, and what came of it.
type Error struct {
	Op   string // status, history, watch, upgrade, retire or stop
	Path string // of the rendezvous
	PID  int    // of the process that was asked; 0 if there is none
	Err  error
}

func (e *Error) Error() string {
	if e.PID != 0 {
		return fmt.Sprintf("%s %s (process %d): %v", e.Op, e.Path, e.PID, e.Err)
	}
	return fmt.Sprintf("%s %s: %v", e.Op, e.Path, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Client asks the chain at Path. Its methods may be called by several goroutines at once.
type Client struct {
	// Path is that of the rendezvous: handoff.Config.Path.
	Path string
	// Silence is how long the process may say nothing, before it counts as one that hangs. During an upgrade it says each second
	// that it lives. Default: 10 seconds.
	Silence time.Duration
	// Settle is how long to look for the owner, if none answers although a process is at the rendezvous: it may just be starting, or
	// handing over. Default: 3 seconds.
	Settle time.Duration
}

const (
	defaultSilence = 10 * time.Second
	defaultSettle  = 3 * time.Second
)

func (c *Client) silence() time.Duration { return or(c.Silence, defaultSilence) }
func (c *Client) settle() time.Duration  { return or(c.Settle, defaultSettle) }

func or(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// maxSockets bounds the sockets of a status.
const maxSockets = 4096

// Event is what becomes of an upgrade, as it happens.
type Event struct {
	Generation int           // of the process that upgrades
	PID        int           // of that process
	Phase      string        // a handoff.Phase, to which it has come
	Successor  int           // process id of the new process; 0 as long as there is none
	After      time.Duration // since the request
}

// Happening is one thing of which Watch tells. Which fields it has follows from its Kind.
type Happening struct {
	Kind       Kind      `json:"kind"`
	Time       time.Time `json:"time"`
	Generation int       `json:"generation,omitempty"` // of the process that tells it
	PID        int       `json:"pid,omitempty"`        // of that process
	Successor  int       `json:"successor,omitempty"`  // process id, of a phase
	// Phase is the one to which that generation has come.
	Phase timeline.Phase `json:"phase,omitempty"`
	// Handoff is the record of a handoff that has begun or has come further, as it is now.
	Handoff *timeline.Handoff `json:"handoff,omitempty"`
	// Draining are the older generations that drain, as they are now; none: they have ended.
	Draining []timeline.Generation `json:"draining,omitempty"`
	// Missed is how many changes of phase were not told, because who watches is too slow.
	Missed int `json:"missed,omitempty"`
}

// Kind says what has happened.
type Kind string

// The kinds. A later release may have more.
const (
	KindPhase   Kind = "phase"
	KindHandoff Kind = "handoff"
	KindDrain   Kind = "drain"
	KindMissed  Kind = "missed"
)

// chainOf makes a chain of an answer to status.
func chainOf(a control.Answer, sockets []control.Socket) timeline.Chain {
	var c timeline.Chain
	if a.Chain != nil {
		c = *a.Chain
	}
	if s := a.Status; len(c.Generations) == 0 { // of a release that says no more
		c.Version = timeline.Version
		c.Generations = []timeline.Generation{{
			Generation: s.Generation, PID: s.PID, Phase: timeline.Phase(s.Phase), Since: s.Since, Predecessor: s.Predecessor,
			Successor: s.Successor, Error: s.LastError, Updated: time.Now(),
		}}
	}
	first := &c.Generations[0]
	first.Error = a.Status.LastError
	for _, o := range sockets {
		first.Sockets = append(first.Sockets, timeline.Resource{
			Name: o.Name, Kind: timeline.Kind(o.Kind), Network: o.Network, Address: o.Address, Inherited: o.Inherited,
		})
	}
	return c
}

// errorOf is the error of a refusal, or of an end that is no success.
func errorOf(a control.Answer) error {
	switch a.Code {
	case control.CodeUnauthorized:
		return fmt.Errorf("%w: %s", ErrForbidden, a.Reason)
	case control.CodeBusy:
		return fmt.Errorf("%w: %s", ErrBusy, a.Reason)
	case control.CodeUnknown, control.CodeVersion:
		return fmt.Errorf("%w: %s", ErrUnknownRequest, a.Reason)
	default:
		now := ""
		switch a.Phase {
		case "":
		case "serving", "offering", "probation":
			now = "; it serves on"
		default:
			now = "; it does not serve now, it is " + a.Phase
		}
		return fmt.Errorf("%w%s: %s", ErrFailed, now, a.Reason)
	}
}
