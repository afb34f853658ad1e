package reaper

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/internal/startenv"
)

// Options say what PID 1 does.
type Options struct {
	Cmd     *exec.Cmd // the first process
	PIDFile string    // names the process that serves, as soon as there is one
	// Heir is how long PID 1 waits, when the process that serves has crashed, for another one to take its place.
	Heir time.Duration
	// Drain is how long it waits for what is left, when nobody serves any more.
	Drain time.Duration
}

// Main starts the command, and returns when it, and those that have taken its place, have ended: with the status of the one
// that has served last, which is 128 and the number of a signal that has ended it. The caller is to exit with it, which ends
// what is left. An error is that the command was not started.
//
// SIGTERM, SIGINT and SIGQUIT are sent to all processes of the namespace, other signals to the one that serves.
func Main(o Options) (status int, err error) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals) // SIGCHLD too
	defer signal.Stop(signals)
	if err := o.Cmd.Start(); err != nil {
		return 0, err
	}
	r := &reaper{o: o, main: o.Cmd.Process.Pid}
	_ = o.Cmd.Process.Release() // its Wait would compete with reap
	for {
		select {
		case s := <-signals:
			switch s {
			case unix.SIGCHLD:
			case unix.SIGPIPE, unix.SIGURG: // this process's own
				continue
			default:
				r.look()
				r.pass(s.(syscall.Signal))
			}
		case <-r.bound:
			if r.stopping {
				return r.status, nil
			}
			r.stop()
		}
		if r.reap() {
			return r.status, nil
		}
		r.stopWithoutHeir()
	}
}

type reaper struct {
	o        Options
	main     int  // the process that serves; 0: it has ended
	status   int  // of the last one
	away     bool // the process that served is superseded by one of another container
	stopping bool
	// unreadable: the PID file, as when its directory is gone. So it is unknown who serves.
	unreadable bool
	bound      <-chan time.Time
}

// look reads who serves.
func (r *reaper) look() {
	pid, superseded, err := startenv.ReadPIDFile(r.o.PIDFile)
	r.away, r.unreadable = err == nil && superseded, err != nil
	if err != nil || superseded || pid <= 1 || pid == r.main || unix.Kill(pid, 0) != nil || dead(pid) {
		return
	}
	if r.main = pid; !r.stopping {
		r.bound = nil
	}
}

// dead reports whether nobody has waited for a process yet that has ended.
func dead(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false // no /proc: unknown
	}
	rest := b[strings.LastIndexByte(string(b), ')')+1:] // proc_pid_stat(5)
	f := strings.Fields(string(rest))
	return len(f) > 0 && (f[0] == "Z" || f[0] == "X")
}

func (r *reaper) pass(s syscall.Signal) {
	if s == unix.SIGTERM || s == unix.SIGINT || s == unix.SIGQUIT {
		r.stopping = true
		_ = unix.Kill(-1, s) // kill(2): not to this process
		r.boundStop()
		return
	}
	if r.main != 0 {
		_ = unix.Kill(r.main, s)
	}
}

// stop ends what is left when nobody serves.
func (r *reaper) stop() {
	r.stopping = true
	_ = unix.Kill(-1, unix.SIGTERM)
	r.boundStop()
}

// boundStop begins the time of what is left, orphans that ignore SIGTERM for example, when nobody serves any more.
func (r *reaper) boundStop() {
	if r.main == 0 {
		r.bound = time.After(r.o.Drain)
	}
}

// reap waits for all that have ended, and reports whether nobody is left.
func (r *reaper) reap() (over bool) {
	for {
		var st unix.WaitStatus
		pid, err := unix.Wait4(-1, &st, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return true
		case err != nil || pid == 0:
			return false
		}
		r.look() // who has come after it
		if pid != r.main {
			continue
		}
		r.main, r.status = 0, st.ExitStatus()
		if st.Signaled() {
			r.status = 128 + int(st.Signal())
		}
		switch {
		case r.stopping:
			r.boundStop()
		case r.status == 0 && r.unreadable && r.heirs(): // who has taken over could not say so
		case r.status == 0, r.away: // somebody wished that, or another container's process serves
			r.stop()
		default:
			r.bound = time.After(r.o.Heir)
		}
	}
}

// stopWithoutHeir does not wait for a process to take the place of the one that has ended if there is none that could: what is
// left are orphans.
func (r *reaper) stopWithoutHeir() {
	if r.main == 0 && !r.stopping && !r.heirs() {
		r.stop()
	}
}

// heirs reports whether a process lives that may come to serve: a generation, which was started with the PID file in its
// environment. Join takes it out, so what a generation starts besides does not have it.
func (r *reaper) heirs() bool {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil || len(files) == 0 {
		return true // no /proc: unknown
	}
	return slices.ContainsFunc(files, func(name string) bool {
		b, err := os.ReadFile(name) // empty for a dead one
		return errors.Is(err, os.ErrPermission) || slices.Contains(strings.Split(string(b), "\x00"), startenv.PIDFile+"="+r.o.PIDFile)
	})
}
