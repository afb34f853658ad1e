// Package control asks a running chain of generations: what it is doing, to upgrade, and to stop. The generation that serves answers,
// on a Unix socket beside the rendezvous, handoff.Config.Path + ".control". The command segue is made of it.
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
	// ErrFailed: the upgrade, or the stop, failed. The error says whether the generation that was asked serves on.
	ErrFailed = errors.New("failed")
	// ErrBusy: another upgrade is under way.
	ErrBusy = errors.New("another upgrade is under way; try again when it has ended")
	// ErrUnknownRequest: the process is of an older release, and does not know this request.
	ErrUnknownRequest = errors.New("the process does not know this request")
	// ErrLost: the process accepted the request and has said nothing about its end. See its log.
	ErrLost = errors.New("it is not known how it ended")
)

// Error says what was asked, where, and what came of it.
type Error struct {
	Op   string // status, upgrade or stop
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

// Status is what the generation that serves says of itself. Process ids are as it numbers them. In JSON, names are in lower case.
type Status struct {
	Generation  int       `json:"generation"`            // counts from 1
	PID         int       `json:"pid"`                   // of the process
	Phase       string    `json:"phase"`                 // a handoff.Phase
	Since       time.Time `json:"since"`                 // the phase began
	Predecessor int       `json:"predecessor,omitempty"` // process id of the generation before, while it lives and drains; else 0
	Successor   int       `json:"successor,omitempty"`   // process id of the one that takes over; else 0
	Arrived     int       `json:"arrived"`               // live connections that came from the predecessor
	Moved       int       `json:"moved"`                 // live connections that went to a successor
	LastError   string    `json:"last_error,omitempty"`  // why the last attempt to hand over failed; empty if none did
	Sockets     []Socket  `json:"sockets"`               // 4096 at most
}

// Socket is a listener, a packet socket, or a file of a generation.
type Socket struct {
	Name      string `json:"name"`      // under which it is handed over
	Kind      string `json:"kind"`      // listener, packet or file
	Network   string `json:"network"`   // as asked for
	Address   string `json:"address"`   // as bound
	Inherited bool   `json:"inherited"` // came from the predecessor
}

// maxSockets bounds Status.Sockets.
const maxSockets = 4096

// Event is what becomes of an upgrade, as it happens.
type Event struct {
	Generation int           // of the process that upgrades
	PID        int           // of that process
	Phase      string        // a handoff.Phase, to which it has come
	Successor  int           // process id of the new process; 0 as long as there is none
	After      time.Duration // since the request
}

func statusOf(s *control.Status, sockets []control.Socket) Status {
	all := make([]Socket, len(sockets))
	for i, o := range sockets {
		all[i] = Socket(o)
	}
	return Status{
		Generation: s.Generation, PID: s.PID, Phase: s.Phase, Since: s.Since, Predecessor: s.Predecessor, Successor: s.Successor,
		Arrived: s.Arrived, Moved: s.Moved, LastError: s.LastError, Sockets: all,
	}
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
