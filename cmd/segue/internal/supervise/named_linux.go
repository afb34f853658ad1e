package supervise

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/internal/startenv"
)

// pidFile is where who serves says so, of those that hand over by themselves.
func (r *runner) pidFile() string { return filepath.Join(r.dir, "pid") }

// watchNames has the loop look at the PID file each time that it is replaced.
func (r *runner) watchNames() error {
	n, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	r.watch = os.NewFile(uintptr(n), "inotify")
	if _, err := unix.InotifyAddWatch(n, r.dir, unix.IN_MOVED_TO); err != nil {
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

// parentOf returns the parent of a process, and 0 for one that is dead or unknown.
func parentOf(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may contain anything (proc_pid_stat(5)).
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}

// ancestors returns the parent of a process, the parent's, and so on, up to and without this process; nil if it is no
// descendant.
func ancestors(pid int) (all []int) {
	for p := parentOf(pid); p > 0; p = parentOf(p) {
		if p == os.Getpid() {
			return all
		}
		all = append(all, p)
	}
	return nil
}

func isChild(pid int) bool { return parentOf(pid) == os.Getpid() }

func isDescendant(pid int) bool { return isChild(pid) || len(ancestors(pid)) > 0 }

// childrenOf lists the processes that one has started, or that were reparented to it, the dead included.
func childrenOf(pid int) (all []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for _, s := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(s); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// family is a process and its descendants.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		for _, c := range childrenOf(all[i]) {
			if !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
	}
	return all
}

// taken reports whether a process that is no descendant listens at the control socket of the rendezvous, as the one does that
// serves (package handoff/control).
func (r *runner) taken() bool {
	conn, err := net.Dial("unixpacket", r.o.Rendezvous+".control")
	if err != nil {
		return false // nobody, or one who does not answer: COMMAND finds out more
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return false
	}
	var listener *unix.Ucred
	err2 := raw.Control(func(n uintptr) { listener, err = unix.GetsockoptUcred(int(n), unix.SOL_SOCKET, unix.SO_PEERCRED) }) // who has called listen(2)
	return err == nil && err2 == nil && !isDescendant(int(listener.Pid))                                                     // 0 in another PID namespace
}
