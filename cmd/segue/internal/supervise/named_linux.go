package supervise

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/internal/startenv"
)

// pidFile is where who serves says so, of those that hand over by themselves.
func (r *runner) pidFile() string { return filepath.Join(r.dir, "names", "pid") }

// makeDir makes the directory of this process. If the rendezvous is in another user's directory, COMMAND will be that user: then
// what COMMAND has to reach there is that user's too.
func (r *runner) makeDir() (err error) {
	if r.dir, err = os.MkdirTemp("", "segue-run-"); err != nil {
		return err
	}
	names := filepath.Dir(r.pidFile())
	if err := os.Mkdir(names, 0o700); err != nil {
		return err
	}
	var st unix.Stat_t
	if !r.shared || os.Geteuid() != 0 || unix.Stat(filepath.Dir(r.o.Rendezvous), &st) != nil || st.Uid == 0 {
		return nil
	}
	r.chown = func(path string) error { return os.Lchown(path, int(st.Uid), int(st.Gid)) }
	return errors.Join(r.chown(names), os.Chmod(r.dir, 0o711)) //nolint:gosec // others may pass, and read nothing
}

// watchNames has the loop look at the PID file each time that it is replaced.
func (r *runner) watchNames() error {
	n, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	r.watch = os.NewFile(uintptr(n), "inotify")
	if _, err := unix.InotifyAddWatch(n, filepath.Dir(r.pidFile()), unix.IN_MOVED_TO); err != nil {
		return os.NewSyscallError("inotify_add_watch", err)
	}
	r.tasks.Go(func() {
		for b := make([]byte, 4<<10); ; {
			if _, err := r.watch.Read(b); err != nil {
				return // closed
			}
			r.post(func() []action { r.readName(); return nil })
		}
	})
	return nil
}

func (r *runner) unwatch() {
	if r.watch != nil {
		_ = r.watch.Close()
	}
}

// readName tells the machine who is named in the PID file, if that is a descendant that lives: the file may be left behind.
func (r *runner) readName() {
	pid, superseded, err := startenv.ReadPIDFile(r.pidFile())
	if err != nil || !isDescendant(pid) {
		return
	}
	p := r.m.find(pid)
	if superseded {
		r.do(r.m.displaced(p))
		return
	}
	if p != nil && p.role == serving && p.joined {
		return // as it was
	}
	acts := r.m.named(pid, ancestors(pid), time.Now())
	if q := r.m.find(pid); p == nil && !isChild(pid) && q != nil && q.pid == pid {
		r.watchOther(q)
	}
	r.do(acts)
}

// watchOther tells of the end of a process that is no child, but that of one; it becomes a child when that one ends first.
func (r *runner) watchOther(p *proc) {
	pid := p.pid
	n, err := unix.PidfdOpen(pid, 0)
	r.tasks.Go(func() {
		if err == nil {
			defer unix.Close(n)
			for fds := []unix.PollFd{{Fd: int32(n), Events: unix.POLLIN}}; fds[0].Revents == 0; {
				if r.ctx.Err() != nil {
					return
				}
				_, _ = unix.Poll(fds, 200) // ms
			}
		}
		r.post(func() []action {
			r.reap() // if it is a child by now, its status is known
			if r.m.has(p) {
				r.gone(pid, 1)
			}
			return nil
		})
	})
}

// taken reports whether a process that is no descendant serves at the rendezvous.
func (r *runner) taken() bool {
	pid, ok := r.listens()
	return ok && !isDescendant(pid)
}

// tooLate: p has had its time. If it serves nevertheless, and only could not write the PID file, it is not to be killed.
func (r *runner) tooLate(p *proc) []action {
	r.readName()
	if p.role != starting || !r.m.has(p) {
		return nil
	}
	if pid, ok := r.listens(); ok && (pid == p.pid || slices.Contains(ancestors(pid), p.pid)) {
		r.o.Log.Warn("a process serves that has not written the PID file", "pid", pid, "path", r.pidFile())
		return r.m.named(pid, ancestors(pid), time.Now())
	}
	return r.m.tooLate(p)
}

// listens returns the process that listens at the control socket of the rendezvous, as the one does that serves (package
// handoff/control); 0 for one in another PID namespace.
func (r *runner) listens() (pid int, ok bool) {
	conn, err := net.Dial("unixpacket", r.o.Rendezvous+".control")
	if err != nil {
		return 0, false // nobody, or one who does not answer: COMMAND finds out more
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, false
	}
	var listener *unix.Ucred
	err2 := raw.Control(func(n uintptr) { listener, err = unix.GetsockoptUcred(int(n), unix.SOL_SOCKET, unix.SO_PEERCRED) }) // who has called listen(2)
	if err != nil || err2 != nil {
		return 0, false
	}
	return int(listener.Pid), true
}
