package listener

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dup copies the descriptor of c, which it borrows: close-on-exec is set on the copy, which the caller closes.
//
// Both refer to one open file description, whose status flags Dup leaves alone; O_NONBLOCK above all, which
// (*os.File).Fd would clear for every process that holds the socket (golang/go#29277). The number is never 0, 1 or 2,
// even where these are free, as os gives those a meaning of their own.
func Dup(c syscall.Conn) (*FD, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("listener: duplicate: %w", err)
	}
	n, dupErr := -1, error(nil)
	if err := raw.Control(func(fd uintptr) {
		n, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
	}); err != nil {
		return nil, fmt.Errorf("listener: duplicate: %w", err)
	}
	if dupErr != nil {
		return nil, fmt.Errorf("listener: duplicate (is RLIMIT_NOFILE reached?): %w",
			os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", dupErr))
	}
	return NewFD(n), nil
}

// closeFD does not retry after EINTR: Linux has freed the number by then (close(2), NOTES).
func closeFD(n int) error {
	return os.NewSyscallError("close", unix.Close(n))
}
