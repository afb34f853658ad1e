package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/timeline"
)

// conf is what a role is told. A test may write it anew before each start; who runs has read it.
type conf struct {
	Events string   // named pipe
	Path   string   // rendezvous
	Listen []string // network/address; the first is the one that clients use

	Guard, StepTimeout, ReadyTimeout, DrainTimeout, Probation time.Duration

	// Fault is what happens to the process itself at one arrow of the protocol: "kill sent commit"; at the third of its
	// kind: "kill sent conns#3"; or some time after it: "kill sent confirm+2ms".
	Fault string
	// Init lets a process that is PID 1 stay, and start the program below it.
	Init bool
	// Start is what happens at a point of the start: "exit3" "hang" "hang-joined" "hold-joined", and "nofile=N", or
	// "nofile=+N" for N more than are open.
	Start string
	// USR1 is what SIGUSR1 does: "close" "exit0" "exit4" "fail" "server" (one fails), or "hold": what waits for it goes on.
	USR1 string
	// Check waits for SIGUSR1, with "hold", and then fails.
	Check bool
	// Chains says which of Listen the role embed serves.
	Chains []int
	// Raw are frames for the role raw.
	Raw []string
	// SpawnRole is the role of successors that are started by Upgrade; "" is the same.
	SpawnRole string
	// Siblings lets the parent of this process have the successors.
	Siblings bool
	// StopTimeout is Config's.
	StopTimeout time.Duration
	// Signals lets segue itself handle SIGHUP.
	Signals bool
	// Unhandled leaves SIGTERM to the kernel.
	Unhandled bool
	// Traced emits an event for each message.
	Traced bool
	// AnyUser makes the rendezvous reachable for every user.
	AnyUser bool
	// Everyone may take part in a handoff, of whichever user.
	Everyone bool
	// Nobody may succeed this process: its Authorize says no.
	Nobody bool
	// SetUID is a user whom a process that is root's becomes when it starts, for good.
	SetUID int

	// State is what goes wrong, once, with the state of the role counter: a callback and "fails", "hangs" or "stops".
	State string
	// Revival is the counter's: "forbid" "keep" "call".
	Revival      string
	StateTimeout time.Duration

	// Transport is "" "scm_rights" "pidfd".
	Transport string
	// Rescue allows to replace an incumbent that does not answer; "all" also one of another user.
	Rescue string
	// Deaf makes Authorize never return, once it is called.
	Deaf bool
	// Undumpable is what a process is that dropped root by setuid: nobody of its user may take from it.
	Undumpable bool
	// Seccomp refuses pidfd_getfd and pidfd_open with this error: EPERM or ENOSYS.
	Seccomp syscall.Errno
	// Kernel is "old", as Linux 5.10 is, or "filtered", as such a one below a container's filter that knows no pidfds. See pretend.
	Kernel string
	// Filtered is the error with which the filter refuses; 0 is EPERM.
	Filtered syscall.Errno
	// Ptracer emits an event for each PR_SET_PTRACER, and lets it succeed as with Yama.
	Ptracer bool

	// Of the role started. Pipe is what the program does about SIGPIPE: "ignore before" Join, or "ignore after", "notify before",
	// "notify after", "reset after". Command is what its Config.Command is like: "plain", "writer", "deathsig", "context", "missing".
	Pipe, Command string
	// Helper is a process that it starts before Ready.
	Helper bool

	// Timeline has SIGUSR2 also write what the process says of its chain to a file, whose name the event "timeline" has.
	Timeline bool

	// Metrics has the role http show them to Prometheus at /metrics.
	Metrics bool

	// Of the role http. Handled is a file to which each request's token is appended; "" is none.
	Handled                        string
	IdleTimeout, ReadHeaderTimeout time.Duration
	// Lock is the file that the roles worker and store lock, and Work what goes wrong with the worker: "stuck" "fails".
	Lock, Work string
	// Counted makes the number of requests a section of state, which GET /count tells.
	Counted bool
	// WaitHijacked is that of the server, which then logs as the generation does.
	WaitHijacked time.Duration
}

func readConf(file string) (c conf, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return c, fmt.Errorf("%s: %w", envConf, err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("%s: %s: %w", envConf, file, err)
	}
	return c, nil
}

// handoff makes the Config of a generation.
func (c conf) handoff(e *emitter) handoff.Config {
	f := newFault(c.Fault, e)
	h := handoff.Config{
		Path: c.Path, Init: c.Init, Guard: c.Guard, StepTimeout: c.StepTimeout, ReadyTimeout: c.ReadyTimeout,
		DrainTimeout: c.DrainTimeout, StateTimeout: c.StateTimeout, Probation: c.Probation, Logger: e.logger(),
		Siblings: c.Siblings, StopTimeout: c.StopTimeout,
		Trace: &handoff.Trace{
			Phase: func(c timeline.PhaseChange) { e.emit(event{Ev: "phase", Msg: string(c.To)}) },
		},
	}
	if c.Traced || c.Fault != "" {
		h.Trace.Sent = func(m timeline.Message) {
			e.emit(event{Ev: "sent", Msg: string(m.Type)})
			f.at("sent " + string(m.Type))
		}
		h.Trace.Received = func(m timeline.Message) {
			e.emit(event{Ev: "received", Msg: string(m.Type)})
			f.at("received " + string(m.Type))
		}
	}
	if c.SpawnRole != "" {
		h.Command = func() *exec.Cmd {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), envRole+"="+c.SpawnRole)
			return cmd
		}
	}
	c.command(&h, e)
	c.constrain(&h, e)
	if c.Signals {
		h.Signals = []os.Signal{unix.SIGHUP}
	}
	return h
}

// fault strikes once, at an arrow.
type fault struct {
	action, arrow string
	after         time.Duration
	e             *emitter
	left          atomic.Int64 // it strikes when this becomes 0
}

func newFault(s string, e *emitter) *fault {
	f := &fault{e: e}
	s, after, _ := strings.Cut(s, "+")
	s, nth, _ := strings.Cut(s, "#")
	f.action, f.arrow, _ = strings.Cut(s, " ")
	f.after, _ = time.ParseDuration(after) // none is none
	n, _ := strconv.Atoi(nth)
	f.left.Store(int64(max(1, n)))
	return f
}

func (f *fault) at(arrow string) {
	if f.arrow != arrow || f.left.Add(-1) != 0 {
		return
	}
	if f.after > 0 {
		time.AfterFunc(f.after, func() { f.strike(arrow) })
		return
	}
	f.strike(arrow)
}

func (f *fault) strike(arrow string) {
	f.e.emit(event{Ev: "fault", Msg: f.action + " " + arrow})
	switch f.action {
	case "kill":
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	case "stop":
		stopSelf()
	default:
		panic("unknown fault " + f.action)
	}
}

// stopSelf sends SIGSTOP to this thread, which then does not return before it has been continued. One that is sent to the
// process may be taken by another thread, and this one would go on for a while.
func stopSelf() {
	runtime.LockOSThread()
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
	runtime.UnlockOSThread()
}
