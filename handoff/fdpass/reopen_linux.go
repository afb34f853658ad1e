package fdpass

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// Reopen opens the file of the process's descriptor n again, with flags as for open(2): an access mode, and O_APPEND,
// O_NONBLOCK, O_TRUNC, O_DIRECT and their like. What it returns is a new open file description of its own, at offset 0,
// with those flags and no others; it shares nothing with the process's but the file. It is close-on-exec, and the caller
// closes it. A file that was deleted opens all the same.
//
// This is open of /proc/PID/fd/N (proc_pid_fd(5)). It works for regular files, directories, FIFOs, memfds and devices. It
// needs PTRACE_MODE_READ_FSCREDS (ptrace(2)), which is less than [Process.Get] needs: Yama does not mind; and then the
// permission to open that file, as if by its name: that the process could open it does not help.
//
// It does not wait: neither for the other end of a FIFO (without a reader, O_WRONLY fails with ENXIO) nor for a modem.
//
// Errors: [ErrSocket] and [ErrAnonymous] for what has no file; [ErrGone], [ErrNotOpen]; [ErrRefused] with its cause if the
// process is out of reach; fs.ErrPermission if the file is; EINVAL for flags that make no sense here (O_CREAT, O_EXCL,
// O_TMPFILE, O_NOFOLLOW, O_PATH); the system's.
func (p *Process) Reopen(n int, flags int) (*listener.FD, error) {
	fd, err := p.reopen(n, flags)
	if err != nil {
		return nil, fmt.Errorf("fdpass: reopen descriptor %d of process %d: %w", n, p.pid, err)
	}
	return fd, nil
}

func (p *Process) reopen(n, flags int) (*listener.FD, error) {
	if err := checkFlags(flags); err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, fmt.Errorf("%w: %w", ErrNotOpen, unix.EBADF)
	}
	dir, err := p.proc()
	if err != nil {
		return nil, err
	}
	var fd *listener.FD
	var opErr error
	if err := dir.Control(func(dir uintptr) {
		fd, opErr = reopenAt(int(dir), "fd/"+strconv.Itoa(n), flags)
	}); err != nil {
		return nil, err
	}
	if opErr == nil {
		return fd, nil
	}
	if gone := p.alive(); gone != nil {
		return nil, fmt.Errorf("%w: %w", gone, opErr)
	}
	if errors.Is(opErr, errLink) && errors.Is(opErr, os.ErrPermission) {
		return nil, fmt.Errorf("%w: %w", refusal(p.pid, read), opErr)
	}
	return nil, opErr
}

// proc is the process's directory in /proc. It stays that process's, even when its number is another's.
func (p *Process) proc() (*listener.FD, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir != nil {
		return p.dir, nil
	}
	// The proc that is mounted may be of another PID namespace, where our numbers mean others.
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return nil, fmt.Errorf("/proc must be mounted, for the PID namespace of this process; it has %q here: %w", self, errors.Join(err, unix.ENOENT))
	}
	path := "/proc/" + strconv.Itoa(p.pid)
	n, err := open(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY)
	// Whether that is the process: it is, if the process has its number still.
	if gone := p.alive(); gone != nil {
		if err == nil {
			_ = unix.Close(n)
		}
		return nil, gone
	}
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("%w: the process lives, but is hidden (hidepid of proc(5)): %w", ErrRefused, unix.EACCES)
	}
	if err != nil {
		return nil, withLimit(&os.PathError{Op: "open", Path: path, Err: err})
	}
	p.dir = listener.NewFD(n)
	return p.dir, nil
}

// Reopen opens the file of a descriptor of this process again, which it borrows: one that was received, say, to get an
// offset and flags of one's own. Otherwise it is as [Process.Reopen]. It may be called by several goroutines at once, also
// with one c.
func Reopen(c syscall.Conn, flags int) (*listener.FD, error) {
	if err := checkFlags(flags); err != nil {
		return nil, fmt.Errorf("fdpass: reopen: %w", err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("fdpass: reopen: %w", err)
	}
	var fd *listener.FD
	var opErr error
	err = raw.Control(func(n uintptr) {
		fd, opErr = reopenAt(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(int(n)), flags)
	})
	if err == nil {
		err = opErr
	}
	if err != nil {
		return nil, fmt.Errorf("fdpass: reopen: %w", err)
	}
	return fd, nil
}

func checkFlags(flags int) error {
	const senseless = unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_PATH
	if flags&senseless != 0 || flags&unix.O_TMPFILE == unix.O_TMPFILE {
		return fmt.Errorf("flags %#x: O_CREAT, O_EXCL, O_TMPFILE, O_NOFOLLOW and O_PATH make no sense for a file that is open: %w", flags, unix.EINVAL)
	}
	return nil
}

// errLink is that already the link in /proc could not be followed.
var errLink = errors.New("the link in /proc")

// reopenAt opens a link in /proc/PID/fd.
func reopenAt(dir int, path string, flags int) (*listener.FD, error) {
	n, err := open(dir, path, flags|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, whyNot(dir, path, err)
	}
	if flags&unix.O_NONBLOCK == 0 {
		// F_SETFL sets just those flags that open has set by now; the access mode it ignores.
		if _, err := unix.FcntlInt(uintptr(n), unix.F_SETFL, flags); err != nil {
			_ = unix.Close(n)
			return nil, os.NewSyscallError("fcntl F_SETFL", err)
		}
	}
	return listener.NewFD(n), nil
}

// whyNot explains an error of open. O_PATH opens whatever it is, without a side effect.
func whyNot(dir int, path string, err error) error {
	err = withLimit(&os.PathError{Op: "open", Path: path, Err: err})
	n, pathErr := open(dir, path, unix.O_PATH)
	switch {
	case errors.Is(pathErr, unix.ENOENT):
		return fmt.Errorf("%w: %w", ErrNotOpen, pathErr)
	case errors.Is(pathErr, unix.ESRCH):
		return fmt.Errorf("%w: %w", ErrGone, pathErr)
	case pathErr != nil:
		return fmt.Errorf("%w: %w", errLink, withLimit(pathErr))
	}
	defer unix.Close(n)
	var st unix.Stat_t
	if unix.Fstat(n, &st) != nil {
		return err
	}
	switch typ := st.Mode & unix.S_IFMT; {
	case typ == unix.S_IFSOCK:
		return fmt.Errorf("%w: it has no file that could be opened a second time; take it by pidfd_getfd (Process.Get), or let its process send it (Send): %w", ErrSocket, err)
	case typ == 0:
		return fmt.Errorf("%w: take it by pidfd_getfd (Process.Get), or let its process send it (Send): %w", ErrAnonymous, err)
	case typ == unix.S_IFIFO && errors.Is(err, unix.ENXIO):
		return fmt.Errorf("nobody has this FIFO open for reading: %w", err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("this process may not open that file, whoever has it open (mode %#o, uid %d, gid %d): %w", st.Mode&0o7777, st.Uid, st.Gid, err)
	}
	return err
}

// open sets O_CLOEXEC, and goes on when a signal interrupted it.
func open(dir int, path string, flags int) (int, error) {
	return retry(func() (int, error) { return unix.Openat(dir, path, flags|unix.O_CLOEXEC, 0) })
}
