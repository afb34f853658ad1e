package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/internal/startenv"
)

// Options of a [Service]. The zero value is what most programs want.
type Options struct {
	// NoStore leaves the file descriptor store alone, but for what is in it already. Before systemd 254 a service cannot see
	// whether its unit has FileDescriptorStoreMax; without it, systemd logs a warning for each socket.
	NoStore bool

	// Alive is asked before the watchdog is fed, each half of WatchdogSec; an error is logged, and systemd ends the service if it
	// stays so. It must return before its context ends. Nil: the watchdog is fed as long as the process runs its goroutines.
	Alive func(context.Context) error

	// Logger receives what an operator wants to know. Nil: silent.
	Logger *slog.Logger
}

// Service is what one generation has to do with systemd. Make it with [New] before [handoff.Join]. It ends with its generation; a
// program that does not come to Join calls Close. Its methods may be called from any goroutine.
type Service struct {
	o       Options
	log     *slog.Logger
	n       *notifier
	got     *inheritance
	managed bool // the parent is systemd
	env     environment

	mu       sync.Mutex
	phase    handoff.Phase
	main     bool // systemd listens to this process, as far as it knows
	perhaps  bool // systemd may take it for the main process: its PID file is there
	said     string
	parting  string // of a successor: where it serves, if that is not this unit
	taken    []*loan
	sockets  []*kept
	lastWord func() // waits until systemd has read it; nil if there is none
	feeding  bool
	ended    bool

	// tasks feed the watchdog and repeat, as long as this is the main process. Whoever ends it waits for them.
	tasks  sync.WaitGroup
	ctx    context.Context
	cancel context.CancelFunc
}

// environment is what systemd told by it.
type environment struct {
	watchdog  time.Duration // WATCHDOG_USEC; 0: none
	storeMax  int           // FDSTORE; -1: unknown
	takesFDs  bool          // MAINPIDFD is understood: since systemd 257, which names processes by pidfds in the environment too
	successor bool          // another generation started this process
}

// New reads the environment of a service: NOTIFY_SOCKET, the LISTEN_ variables, which it removes, and the watchdog's. It takes the
// descriptors that are sockets; those of a process are shared by all Services in it. Without systemd it does nothing.
//
// An error is [ErrSockets], and says which variable or descriptor contradicts the others. Variables for another process, such as
// an ancestor's, are no error. Nor is a NOTIFY_SOCKET that does not work: it is logged, and the program serves.
func New(o Options) (*Service, error) { return newService(o, &process, readEnvironment) }

func newService(o Options, got *inheritance, read func(*slog.Logger) ([]*given, error)) (*Service, error) {
	s := &Service{o: o, log: o.Logger, got: got, phase: handoff.PhaseStarting}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.env = readVariables()
	var err error
	if s.n, err = newNotifier(os.Getenv("NOTIFY_SOCKET"), s.log); err != nil {
		s.log.Error("systemd cannot be told what this service does", "error", err)
	}
	// Who was started by an incumbent is not the main process until that one says so.
	s.main = !s.env.successor
	s.managed = parentManages()
	if err := got.use(s.log, read); err != nil {
		s.n.close()
		return nil, fmt.Errorf("systemd: %w", err)
	}
	return s, nil
}

func readVariables() environment {
	e := environment{storeMax: -1}
	_, e.successor = os.LookupEnv(startenv.Handoff)
	// They name generation 1. A successor feeds the watchdog in its place.
	pid, ok := os.LookupEnv("WATCHDOG_PID")
	if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 63); err == nil && usec > 0 &&
		(!ok || e.successor || pid == strconv.Itoa(os.Getpid())) {
		e.watchdog = time.Duration(min(usec, int64(time.Hour/time.Microsecond)*24)) * time.Microsecond
	}
	if n, err := strconv.Atoi(os.Getenv("FDSTORE")); err == nil {
		e.storeMax = n
	}
	for _, name := range []string{"MAINPIDFDID", "MANAGERPIDFDID"} {
		if _, ok := os.LookupEnv(name); ok {
			e.takesFDs = true
		}
	}
	return e
}

// parentManages reports whether systemd is the parent, and so may be that of successors. It is process 1, or the manager of a user.
func parentManages() bool {
	if _, ok := os.LookupEnv("INVOCATION_ID"); !ok || os.Getpid() == 1 {
		return false
	}
	ppid := os.Getppid()
	return ppid == 1 || strconv.Itoa(ppid) == os.Getenv("MANAGERPID")
}

// Config returns c with what makes its generation a service of systemd: a Source, a Trace that calls that of c too, and Siblings if
// the parent of this process is systemd. Use it for one generation.
func (s *Service) Config(c handoff.Config) handoff.Config {
	c.Sources = append(slices.Clone(c.Sources), (*source)(s))
	c.Siblings = c.Siblings || s.managed
	t := handoff.Trace{}
	if c.Trace != nil {
		t = *c.Trace
	}
	opened, closed, released := t.Opened, t.Closed, t.Released
	t.Opened = func(so handoff.SocketStatus, conn syscall.Conn) {
		s.opened(so, conn)
		if opened != nil {
			opened(so, conn)
		}
	}
	t.Closed = func(so handoff.SocketStatus) {
		s.closed(so)
		if closed != nil {
			closed(so)
		}
	}
	t.Released = func(p handoff.Peer) {
		s.released(p)
		if released != nil {
			released(p)
		}
	}
	c.Trace = &t
	return c
}

// Sockets lists what systemd has passed and nobody has asked for yet, also what cannot be used.
func (s *Service) Sockets() []Socket { return s.got.sockets() }

// Close ends a Service whose generation was never joined, and closes its sockets. Afterwards, or after the generation has stopped, it
// does nothing, but waits for what still runs.
func (s *Service) Close() {
	s.mu.Lock()
	s.endLocked()
	s.mu.Unlock()
	s.tasks.Wait()
}

// endLocked lets go of everything.
func (s *Service) endLocked() {
	if s.ended {
		return
	}
	s.ended = true
	s.cancel()
	s.got.stop()
	s.sockets, s.taken = nil, nil
	s.n.close()
}

// phased is told of each phase. What is sent now has arrived before anything else happens in it.
func (s *Service) phased(to handoff.Phase) {
	s.mu.Lock()
	s.phase = to
	if to != handoff.PhaseStopped {
		if to == handoff.PhaseServing && !s.main {
			s.perhaps = true
			s.feedLocked()
		}
		s.announceLocked()
		s.mu.Unlock()
		return
	}
	if s.main && !s.ended {
		s.n.send(daemon.SdNotifyStopping + "\nSTATUS=stopping" + s.parting)
	}
	last := s.lastWord
	s.lastWord = nil
	s.mu.Unlock()
	if last != nil {
		last()
	}
	s.mu.Lock()
	s.endLocked()
	s.mu.Unlock()
	s.tasks.Wait()
}

// announceLocked says what the phase means to systemd, if that is new.
func (s *Service) announceLocked() {
	if !s.main || s.ended {
		return
	}
	state, status := daemon.SdNotifyReady, "serving, process "+strconv.Itoa(os.Getpid())
	switch s.phase {
	case handoff.PhaseStarting, handoff.PhaseStopped:
		return
	case handoff.PhaseOffering:
		state, status = daemon.SdNotifyReloading, "upgrading: a successor starts"
	case handoff.PhaseSwitching, handoff.PhaseGuarding:
		state, status = daemon.SdNotifyReloading, "upgrading: a successor takes over"
	case handoff.PhaseDraining:
		status = "a successor serves; process " + strconv.Itoa(os.Getpid()) + " finishes what it has begun"
	case handoff.PhaseProbation, handoff.PhaseServing:
		s.storeLocked()
		s.feedLocked()
	}
	var b strings.Builder
	if state != s.said {
		b.WriteString(state + "\n")
		if state == daemon.SdNotifyReloading {
			b.WriteString(daemon.SdNotifyMonotonicUsec())
		}
	}
	b.WriteString("STATUS=" + status)
	s.said = state
	s.n.send(b.String())
}

// settled is told when nothing goes back to a predecessor any more: it has named this process the main one, or is gone.
func (s *Service) settled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	if !s.main {
		s.main = true
		if s.feeding { // its time began when it confirmed
			s.n.send(daemon.SdNotifyWatchdog)
		}
		s.announceLocked()
		s.repeatLocked()
	}
	stored, units := s.got.leave()
	for _, name := range stored {
		s.log.Info("not asked for; removed from the file descriptor store", "fdname", name)
		s.n.send("FDSTOREREMOVE=1\nFDNAME=" + name)
	}
	for _, u := range units {
		s.log.Warn("a socket of the unit is not asked for: its clients wait in vain", "socket", u)
	}
}

// released is told when this generation cannot be revived any more, and so the successor is the main process: not before, since
// systemd refuses to take that back once the process that was named is dead. By then it is too late to say more than that.
func (s *Service) released(p handoff.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.main || s.ended || s.n == nil {
		return
	}
	if !sameUnit(p.PID) {
		s.parting = fmt.Sprintf("; process %d, which is not of this unit, has taken over", p.PID)
		s.log.Info("the successor is not of this unit, which ends with this process", "successor", p.PID)
		return
	}
	if s.said != daemon.SdNotifyReady { // so that nobody waits for it
		s.n.send(daemon.SdNotifyReady)
	}
	text := fmt.Sprintf("MAINPID=%d\n", p.PID)
	if id, err := startenv.PidFDID(p.PID); err == nil {
		text += fmt.Sprintf("MAINPIDFDID=%d\n", id)
	}
	if s.feeding { // the successor has the whole time: many upgrades may follow each other in less than half of it
		text += daemon.SdNotifyWatchdog + "\n"
	}
	text += fmt.Sprintf("STATUS=serving, process %d", p.PID)
	if !s.env.takesFDs || !s.sendMainPidFD(p.PID, text) {
		s.n.send(text)
	}
	s.lastWord = s.n.barrier()
	s.main, s.perhaps = false, false
	s.cancel()
}
