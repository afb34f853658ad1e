package systemd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/hook"
	"github.com/segue-go/segue/internal/startenv"
)

// Options of [Join]. The zero value is what most programs want.
type Options struct {
	// NoStore leaves the file descriptor store alone, but for what is in it already. Before systemd 254 a service cannot see
	// whether its unit has FileDescriptorStoreMax; without it, systemd logs a warning for each socket, and paths of Unix sockets
	// stay for nothing when the service ends.
	NoStore bool

	// Alive is asked before the watchdog is fed, each half of WatchdogSec; an error is logged, and systemd ends the service if it
	// stays so. It must return before its context ends. Nil: the watchdog is fed as long as the process runs its goroutines.
	Alive func(context.Context) error

	// Logger receives what an operator wants to know. Nil: silent.
	Logger *slog.Logger
}

// service is what one generation has to do with systemd. It ends with its generation.
type service struct {
	o       Options
	log     *slog.Logger
	n       *notifier
	got     *inheritance
	managed bool // the parent is systemd
	// replacing: this process takes the place of one that does not speak segue's protocol, and so does not name it to systemd.
	replacing bool
	env       environment

	mu       sync.Mutex
	phase    handoff.Phase
	before   handoff.Phase // the one before phase
	main     bool          // systemd listens to this process, as far as it knows
	perhaps  bool          // systemd may take it for the main process: its PID file is there
	said     string
	parting  string // of a successor: where it serves, if that is not this unit
	failed   string // why the last upgrade has failed
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
	successor bool          // another generation started this process
}

// Join is [handoff.Join] for a service of systemd: the generation gets its sockets from systemd too, and systemd is told what it
// does. It reads NOTIFY_SOCKET, the watchdog's variables and the LISTEN_ variables, which it removes, and takes the descriptors
// that are sockets; those of a process are shared by all its generations. Without systemd it does nothing more than handoff.Join.
// If systemd is the parent of this process, Config.Siblings is set.
//
// Errors are those of handoff.Join, and [ErrSockets], which says which variable or descriptor contradicts the others, or cannot be
// served. Variables for another process, such as an ancestor's, are no error. Nor is a NOTIFY_SOCKET that does not work: it is
// logged, and the program serves.
//
// What systemd is told takes up to a second, all together, in each phase, if it does not read or reads slowly, a second more if the
// watchdog is being fed then, and 5 seconds at the end.
func Join(ctx context.Context, c handoff.Config, o Options) (*handoff.Generation, error) {
	if c.Init && os.Getpid() == 1 { // the program that is started again takes what systemd has passed
		return handoff.Join(ctx, c)
	}
	s, err := newService(o, &process, readEnvironment)
	if err != nil {
		return nil, err
	}
	s.replaces(c.Sources)
	g, err := handoff.Join(ctx, s.config(c))
	if err != nil {
		s.close()
	}
	return g, err
}

func newService(o Options, got *inheritance, read func(*slog.Logger) ([]*given, error)) (*service, error) {
	s := &service{o: o, log: o.Logger, got: got, phase: handoff.PhaseStarting}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.env = readVariables(false)
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

// readVariables reads the environment. heir: this process takes the place of another one, whose environment it has.
func readVariables(heir bool) environment {
	e := environment{storeMax: -1}
	_, e.successor = os.LookupEnv(startenv.Handoff)
	// They name generation 1. A successor feeds the watchdog in its place.
	pid, ok := os.LookupEnv("WATCHDOG_PID")
	if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 63); err == nil && usec > 0 &&
		(!ok || heir || e.successor || pid == strconv.Itoa(os.Getpid())) {
		e.watchdog = time.Duration(min(usec, int64(time.Hour/time.Microsecond)*24)) * time.Microsecond
	}
	if n, err := strconv.Atoi(os.Getenv("FDSTORE")); err == nil {
		e.storeMax = n
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

// replaces looks whether this process takes the place of one that does not speak segue's protocol. Then it becomes the main process,
// and feeds the watchdog, although WATCHDOG_PID names an older one.
func (s *service) replaces(sources []handoff.Source) {
	for _, src := range sources {
		if r, ok := src.(hook.Replacer); ok && r.Replaces() {
			s.replacing = true
			s.env = readVariables(true)
		}
	}
}

// config returns c with what makes its generation a service of systemd.
func (s *service) config(c handoff.Config) handoff.Config {
	c.Sources = append(slices.Clone(c.Sources), (*source)(s))
	c.Siblings = c.Siblings || s.managed
	return c
}

// close ends a service whose generation was never joined, and closes its sockets. Afterwards, or after the generation has stopped, it
// does nothing, but waits for what still runs.
func (s *service) close() {
	s.mu.Lock()
	s.endLocked()
	s.mu.Unlock()
	s.tasks.Wait()
}

// endLocked lets go of everything.
func (s *service) endLocked() {
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
func (s *service) phased(to handoff.Phase) {
	s.mu.Lock()
	s.n.begin()
	s.before, s.phase = s.phase, to
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
func (s *service) announceLocked() {
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
		if s.before == handoff.PhaseDraining { // a revival
			status = "the successor failed; this process takes the sockets back"
			break
		}
		state, status = daemon.SdNotifyReloading, "upgrading: a successor takes over"
	case handoff.PhaseDraining:
		status = "a successor serves; process " + strconv.Itoa(os.Getpid()) + " finishes what it has begun"
	case handoff.PhaseProbation, handoff.PhaseServing:
		s.storeLocked()
		s.feedLocked()
	}
	if s.failed != "" && (s.phase == handoff.PhaseServing || s.phase == handoff.PhaseProbation) {
		status += "; the last upgrade failed: " + s.failed
	}
	var b strings.Builder
	if state != s.said {
		b.WriteString(state + "\n")
		if state == daemon.SdNotifyReady && s.replacing { // refused if NotifyAccess=main; the PID file says it then
			fmt.Fprintf(&b, "MAINPID=%d\n", os.Getpid())
		}
		if state == daemon.SdNotifyReloading {
			b.WriteString(daemon.SdNotifyMonotonicUsec())
		}
	}
	b.WriteString("STATUS=" + status)
	s.said = state
	s.n.send(b.String())
}

// settled is told when nothing goes back to a predecessor any more: it has named this process the main one, or is gone.
func (s *service) settled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n.begin()
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
	stored, units := s.got.leave(s.log)
	for _, name := range stored {
		s.log.Info("not asked for; removed from the file descriptor store", "fdname", name)
		s.unstoreLocked(name)
	}
	for _, u := range units {
		if u.err != nil {
			s.log.Warn("a socket of the unit cannot be used", "socket", u.String(), "error", u.err)
			continue
		}
		s.log.Warn("a socket of the unit is not asked for: its clients wait in vain", "socket", u.String())
	}
}

// released is told when this generation cannot be revived any more, and so the successor is the main process: not before, since
// systemd refuses to take that back once the process that was named is dead. By then it is too late to say more than that.
func (s *service) released(to hook.Successor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n.begin()
	if !s.main || s.ended || s.n == nil {
		return
	}
	where := whereIs(to.PID)
	if to.Foreign || where == elsewhere {
		// The sockets are the other process's now, which does not know of the store. This unit, started again, would share them.
		s.emptyStoreLocked()
	}
	if where == nowhere { // by now nobody serves: this process gives up its sockets
		s.parting = fmt.Sprintf("; its successor, process %d, has ended", to.PID)
		s.log.Warn("the successor has ended, and the service ends with this process", "successor", to.PID)
		return
	}
	if where != inUnit {
		who := "a process without a number here"
		if to.PID > 0 {
			who = fmt.Sprintf("process %d", to.PID)
		}
		s.parting = "; " + who + ", which is not of this unit, has taken over"
		s.log.Info("the successor is not of this unit, which ends with this process", "successor", to.PID)
		return
	}
	if s.said != daemon.SdNotifyReady { // so that nobody waits for it
		s.n.send(daemon.SdNotifyReady)
	}
	text := fmt.Sprintf("MAINPID=%d\n", to.PID)
	if id, err := startenv.PidFDID(to.PID); err == nil { // for systemd 257 and later the same as a pidfd by MAINPIDFD
		text += fmt.Sprintf("MAINPIDFDID=%d\n", id)
	}
	switch {
	case s.feeding && to.Foreign: // it may not know of the watchdog, which would end it
		text += "WATCHDOG_USEC=0\n"
	case s.feeding: // the successor has the whole time: many upgrades may follow each other in less than half of it
		text += daemon.SdNotifyWatchdog + "\n"
	}
	s.n.send(text + fmt.Sprintf("STATUS=serving, process %d", to.PID))
	s.lastWord = s.n.barrier()
	s.main, s.perhaps = false, false
	s.cancel()
}

// upgradeFailed is told why an attempt to hand over has failed.
func (s *service) upgradeFailed(err error) {
	if e := (*handoff.Error)(nil); errors.As(err, &e) {
		err = e.Err // the line says already what has failed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n.begin()
	s.failed = oneLine(err.Error())
	s.announceLocked()
}

// oneLine returns what of text fits into STATUS: a line, which must be UTF-8, or systemd takes nothing of the message.
func oneLine(text string) string {
	const most = 300
	text, _, _ = strings.Cut(strings.ToValidUTF8(text, "?"), "\n")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.TrimSuffix(text, ":"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " ..."
	}
	return text
}
