package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Run runs COMMAND until it ends for good, and returns its exit status: 128 and the number of the signal, if one has ended
// it. An error is that this process could not begin, or not go on; it comes with a status too.
//
// It is for the main function of a process: it installs handlers for signals, becomes the reaper of orphans, and ends what is
// left of COMMAND's descendants before it returns.
func Run(o Options) (status int, err error) {
	signals := o.Signals
	if signals == nil {
		signals = Signals()
	}
	defer signal.Stop(signals)
	// Otherwise this process would end when nobody reads its standard error any more (os/signal). Not ignored: COMMAND would inherit that.
	// Nor is it given back: the last lines are written after this.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	children := make(chan os.Signal, 1) // of its own, so that others cannot crowd it out
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)

	if o.DrainSignal == 0 {
		o.DrainSignal = unix.SIGTERM
	}
	r := &runner{o: o, events: make(chan event)}
	r.m.o = &r.o
	r.ctx, r.cancel = context.WithCancel(context.Background())
	defer r.close()
	if err := r.open(); err != nil {
		return 1, err
	}
	r.up = newUpstream(r.o.Log)
	defer r.up.close()
	r.do(r.m.begin())
	for !r.over {
		select {
		case <-r.up.feed:
			if r.told.well {
				r.up.say("WATCHDOG=1")
			}
		case <-children:
			r.reap()
		case s := <-signals:
			r.do(r.m.signaled(s.(syscall.Signal)))
		case e := <-r.events:
			r.do(e())
		}
	}
	return r.m.status, nil
}

// event is called by the loop, and returns what the machine says.
type event func() []action

// runner carries out what the machine decides. Its fields belong to the goroutine of Run.
type runner struct {
	o      Options
	m      machine
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup // goroutines that send events
	events chan event
	over   bool

	dir      string
	shared   bool                    // the rendezvous, with others
	chown    func(path string) error // gives it to COMMAND's user; nil: that is this process's
	sockets  []*socket
	watch    *os.File // inotify(7), of dir
	count    int      // of processes started
	readies  map[int]context.CancelFunc
	up       upstream
	told     standing // what who has started this process knows
	fileMade bool
}

// forwarded are the signals that this process acts on: all that mean something to COMMAND. SIGPIPE is of this process's own
// output, SIGURG the Go runtime's, SIGTSTP, SIGTTIN and SIGTTOU the terminal's.
func forwarded() []os.Signal {
	all := []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGWINCH, unix.SIGCONT}
	for s := syscall.Signal(35); s <= 64; s++ { // SIGRTMIN+1 to SIGRTMAX; the first are the C library's
		all = append(all, s)
	}
	return all
}

// Signals returns where this process gets them from now on, for Options.Signals: what comes is waited out until Run begins.
func Signals() chan os.Signal {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, forwarded()...)
	return signals
}

// open makes what processes are started with.
func (r *runner) open() (err error) {
	r.readies = map[int]context.CancelFunc{}
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("/proc does not know this process: mount /proc of this PID namespace, for example by unshare --mount-proc (/proc/self is %q, and this is process %d)", self, os.Getpid())
	}
	// Orphans are reparented here, also if this process is not PID 1 (prctl(2)).
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	inherited, err := inheritedSockets(r.o.Log)
	r.sockets = inherited
	if err != nil {
		return err
	}
	bound, err := bind(r.ctx, r.o.Listen)
	r.sockets = append(r.sockets, bound...)
	if err != nil {
		return err
	}
	r.m.sockets = len(r.sockets) > 0
	if r.o.ReadyFile != "" { // of a process that was killed
		if err := os.Remove(r.o.ReadyFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	r.shared = r.o.Rendezvous != ""
	if err = r.makeDir(); err != nil {
		return err
	}
	if !r.shared {
		r.o.Rendezvous = filepath.Join(r.dir, "rendezvous")
	}
	if r.o.Rendezvous, err = filepath.Abs(r.o.Rendezvous); err != nil {
		return err
	}
	if len(r.o.Rendezvous) >= len(unix.RawSockaddrUnix{}.Path) {
		return errors.New("the path of the rendezvous is too long for a Unix socket: " + r.o.Rendezvous + "; set TMPDIR to a shorter directory, or use --rendezvous")
	}
	return r.watchNames()
}

// close ends all that Run has begun.
func (r *runner) close() {
	r.cancel()
	r.unwatch()
	r.readyFile(false)
	r.tasks.Wait()
	endChildren()
	for _, s := range r.sockets {
		s.close()
	}
	if r.dir != "" {
		_ = os.RemoveAll(r.dir)
	}
}

// post gives the loop an event, unless that has ended.
func (r *runner) post(e event) {
	select {
	case r.events <- e:
	case <-r.ctx.Done():
	}
}

// later gives the loop an event after d.
func (r *runner) later(d time.Duration, e event) {
	r.tasks.Go(func() {
		select {
		case <-time.After(d):
			r.post(e)
		case <-r.ctx.Done():
		}
	})
}

func (r *runner) do(acts []action) {
	for len(acts) > 0 {
		a := acts[0]
		acts = acts[1:]
		switch {
		case a.start:
			acts = append(r.start(), acts...)
		case a.signal != 0:
			r.signal(a)
		case a.kill != nil:
			r.later(a.kill.after, func() []action { return r.m.overdue(a.kill.proc) })
		case a.readyBy != nil:
			r.later(a.readyBy.after, func() []action { return r.tooLate(a.readyBy.proc) })
		case a.again > 0:
			r.later(a.again, func() []action {
				r.readName()
				return r.m.backedOff(r.shared && r.taken())
			})
		case a.exit:
			r.over = true
		case a.refused:
			r.tellRefused()
		}
		if a.level != quiet {
			r.o.Log.Log(r.ctx, [...]slog.Level{info: slog.LevelInfo, warning: slog.LevelWarn, levelError: slog.LevelError}[a.level], a.msg, a.args...)
		}
	}
	r.tell()
}

// signal sends one. Children keep their numbers until reap has waited for them; others may have lost theirs.
func (r *runner) signal(a action) {
	if a.group && len(members(a.to)) > 0 {
		_ = unix.Kill(-a.to, a.signal) // of what was started here; each is the leader of a group
	}
	if _, own := r.readies[a.to]; !own && !isDescendant(a.to) {
		return
	}
	if err := unix.Kill(a.to, a.signal); err != nil && !errors.Is(err, unix.ESRCH) {
		r.o.Log.Error("a process cannot be sent a signal", "pid", a.to, "signal", a.signal.String(), "error", err)
	}
}

// reap waits for all children that have ended.
func (r *runner) reap() {
	for {
		r.readName() // who has confirmed before it ended has written it
		var st unix.WaitStatus
		pid, err := unix.Wait4(-1, &st, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || pid <= 0:
			r.lookForRests()
			return
		}
		r.gone(pid, shellStatus(st))
	}
}

// gone tells that a process has ended.
func (r *runner) gone(pid, status int) {
	if cancel := r.readies[pid]; cancel != nil {
		cancel()
		delete(r.readies, pid)
	}
	p := r.m.find(pid)
	r.do(r.m.exited(pid, status, p != nil && p.pid == pid && len(members(pid)) > 0, time.Now()))
}

// shellStatus is the exit status as a shell shows it.
func shellStatus(st unix.WaitStatus) int {
	if st.Signaled() {
		return 128 + int(st.Signal())
	}
	return st.ExitStatus()
}

// endChildren kills what is left of COMMAND's descendants: PID 1 does so by its end, others have to do it.
func endChildren() {
	for {
		all := childrenOf(os.Getpid())
		if len(all) == 0 {
			return
		}
		for _, pid := range all {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if _, err := unix.Wait4(-1, nil, 0, nil); errors.Is(err, unix.ECHILD) {
			return
		} // otherwise for one: its children are children of this process now, and are killed next
	}
}
