package fdpass

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// Process is another process, or this one, whose descriptors can be taken. It holds a pidfd (pidfd_open(2)), which means
// that one process for ever, whoever gets its number next. Its methods may be called by several goroutines at once.
//
// What a look at /proc or at sock_diag(7) says about a number, it says about whoever has the number then. So open first,
// look second, and then ask [Process.Alive]: as long as the process lives, nobody else has its number, and what was seen
// was seen of it. Its descriptors may change meanwhile; [Process.GetInode] tells.
type Process struct {
	fd  *listener.FD
	pid int

	mu  sync.Mutex
	dir *listener.FD // /proc/PID, from the first Reopen on
}

// OpenProcess opens the process with this number, which means something in this process's PID namespace only. It needs no
// privilege. The caller calls Close.
//
// Errors: [ErrGone]; EINVAL or ENOENT for the number of a thread; [errors.ErrUnsupported] before Linux 5.3.
func OpenProcess(pid int) (*Process, error) {
	n, err := unix.PidfdOpen(pid, 0)
	switch {
	case err == nil:
		return &Process{fd: listener.NewFD(n), pid: pid}, nil
	case errors.Is(err, unix.ESRCH):
		err = fmt.Errorf("%w: nothing has this number here: %w", ErrGone, err)
	case errors.Is(err, unix.ENOSYS):
		err = fmt.Errorf("%w: pidfd_open needs Linux 5.3, or is filtered: %w", errors.ErrUnsupported, err)
	case errors.Is(err, unix.EPERM):
		err = fmt.Errorf("%w: %w: allow pidfd_open there: %w", ErrRefused, ErrFiltered, err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		err = fmt.Errorf("not a process; a thread, perhaps: %w", err)
	default:
		err = withLimit(err)
	}
	return nil, fmt.Errorf("fdpass: open process %d: %w", pid, err)
}

// NewProcess takes a pidfd that came from elsewhere: [Message].PidFD, or the PidFD of syscall.SysProcAttr, or SO_PEERPIDFD
// (unix(7)). On error it stays the caller's.
//
// Errors: [ErrGone] if the process was reaped already; others if pidfd is none, or its process has no number in this PID
// namespace, or there is no /proc.
func NewProcess(pidfd *listener.FD) (*Process, error) {
	var b []byte
	var opErr error
	err := pidfd.Control(func(n uintptr) {
		b, opErr = os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(n)))
	})
	if err == nil {
		err = opErr
	}
	if err != nil {
		return nil, fmt.Errorf("fdpass: process of a pidfd: %w", withLimit(err))
	}
	pid, err := pidOf(b)
	if err != nil {
		return nil, fmt.Errorf("fdpass: process of a pidfd: %w", err)
	}
	return &Process{fd: pidfd, pid: pid}, nil
}

// PID is the process's number. It may be another's by now; see Alive.
func (p *Process) PID() int { return p.pid }

// Alive returns nil if the process is running, and otherwise an error that wraps [ErrGone]. A zombie is gone.
func (p *Process) Alive() error {
	err := p.alive()
	if err != nil {
		return fmt.Errorf("fdpass: process %d: %w", p.pid, err)
	}
	return nil
}

func (p *Process) alive() error {
	var n int
	var opErr error
	err := p.fd.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, opErr = retry(func() (int, error) { return unix.Poll(fds, 0) })
	})
	switch {
	case err != nil:
		return err
	case opErr != nil:
		return os.NewSyscallError("poll", opErr)
	case n > 0: // it has terminated, pidfd_open(2)
		return ErrGone
	}
	return nil
}

// Get takes a copy of the process's descriptor n by pidfd_getfd(2). The process does not notice, and keeps its own; both
// share the open file description. The caller closes what it gets, which is close-on-exec.
//
// It needs PTRACE_MODE_ATTACH_REALCREDS (ptrace(2)), what a debugger needs: the same user and group ids, a target that is
// dumpable and has no more capabilities than this process, nothing against it from Yama and other security modules; or
// CAP_SYS_PTRACE over the target's user namespace. The target can allow it in spite of Yama's scope 1, by
// PR_SET_PTRACER(2const).
//
// Errors: [ErrGone], [ErrNotOpen], [ErrRefused] with its cause, EMFILE, [errors.ErrUnsupported] before Linux 5.6.
func (p *Process) Get(n int) (*listener.FD, error) {
	var fd int
	var opErr error
	err := p.fd.Control(func(pidfd uintptr) { fd, opErr = unix.PidfdGetfd(int(pidfd), n, 0) })
	if err == nil && opErr != nil {
		err = p.explain(opErr)
	}
	if err != nil {
		return nil, fmt.Errorf("fdpass: take descriptor %d of process %d: %w", n, p.pid, err)
	}
	return listener.NewFD(fd), nil
}

// GetAll is [Process.Get] for many. On error it closes what it has taken so far.
func (p *Process) GetAll(ns []int) ([]*listener.FD, error) {
	got := make([]int, 0, len(ns))
	var opErr error
	err := p.fd.Control(func(pidfd uintptr) {
		for _, n := range ns {
			fd, err := unix.PidfdGetfd(int(pidfd), n, 0)
			if err != nil {
				opErr = err
				return
			}
			got = append(got, fd)
		}
	})
	if err == nil && opErr == nil {
		return listener.NewFDs(got), nil
	}
	for _, n := range got {
		_ = unix.Close(n) // nothing was written through it
	}
	if err == nil {
		err = p.explain(opErr)
	}
	if len(got) == len(ns) {
		return nil, fmt.Errorf("fdpass: take descriptors of process %d: %w", p.pid, err)
	}
	return nil, fmt.Errorf("fdpass: take descriptor %d of process %d: %w", ns[len(got)], p.pid, err)
}

// GetInode is [Process.Get] for a descriptor that was looked at before: it makes sure that it still is of the inode ino,
// which /proc/PID/fd, /proc/net and sock_diag(7) print for sockets, and that it is a socket: a file may have the same number.
// Two sockets practically never have one inode at the same time; the numbers have 32 bits, and come again (get_next_ino). If
// the number means something else by now, it closes what it took, and returns an error that wraps [ErrChanged].
func (p *Process) GetInode(n int, ino uint64) (*listener.FD, error) {
	fd, err := p.Get(n)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	var opErr error
	err = fd.Control(func(n uintptr) { opErr = unix.Fstat(int(n), &st) })
	if err == nil {
		err = os.NewSyscallError("fstat", opErr)
	}
	switch {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		err = fmt.Errorf("%w: it is no socket, but another file; look again", ErrChanged)
	case st.Ino != ino:
		err = fmt.Errorf("%w: it has inode %d, not %d; look again", ErrChanged, st.Ino, ino)
	}
	if err != nil {
		_ = fd.Close()
		return nil, fmt.Errorf("fdpass: take descriptor %d of process %d: %w", n, p.pid, err)
	}
	return fd, nil
}

// Close closes the pidfd. The process lives on, and what was taken stays open. It is idempotent.
func (p *Process) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.fd.Close(), p.dir.Close())
}

// explain says what an error of pidfd_getfd means.
func (p *Process) explain(err error) error {
	switch {
	case errors.Is(err, unix.ESRCH):
		return fmt.Errorf("%w: %w", ErrGone, err)
	case errors.Is(err, unix.EBADF):
		if gone := p.alive(); gone != nil { // until Linux 6.9 a zombie gave EBADF
			return fmt.Errorf("%w: %w", gone, err)
		}
		return fmt.Errorf("%w: %w", ErrNotOpen, err)
	case errors.Is(err, unix.EPERM):
		if gone := p.alive(); gone != nil {
			return fmt.Errorf("%w: %w", gone, err)
		}
		return fmt.Errorf("%w: %w", refusal(p.pid, attach), err)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: pidfd_getfd needs Linux 5.6, or is filtered; use SCM_RIGHTS (Send): %w", errors.ErrUnsupported, err)
	}
	return withLimit(err)
}

// withLimit says what to do about EMFILE and ENFILE.
func withLimit(err error) error {
	switch {
	case errors.Is(err, unix.EMFILE):
		return fmt.Errorf("this process has no room for another descriptor; raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE=): %w", err)
	case errors.Is(err, unix.ENFILE):
		return fmt.Errorf("the system has no room for another open file; raise fs.file-max: %w", err)
	}
	return err
}
