package fdpass

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// PassCred makes the kernel add the sender's credentials and pidfd to each message that c receives, or stops that
// (SO_PASSCRED, and SO_PASSPIDFD of Linux 6.5). It borrows c, a *net.UnixConn or a *net.UnixListener; since Linux 6.16 a
// connection has the setting of the listener that accepted it.
//
// Messages are marked when they are sent, if either side wants them marked or if the connection is not accepted yet. So
// a message that arrives between accept(2) and PassCred has no credentials: its Cred is PID 0 and the overflow uid, its
// PidFD nil. A sender avoids that by calling PassCred for its own end first. As a side effect, the kernel gives a socket
// without an address an abstract one when it next connects or sends ("autobind", unix(7)). It may be called at any time, and
// by several goroutines at once: each message is marked, or not, as a whole.
//
// Before Linux 6.5 the error is [errors.ErrUnsupported], and messages come with credentials and without pidfds, if on is true.
func PassCred(c syscall.Conn, on bool) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("fdpass: pass credentials: %w", err)
	}
	val := 0
	if on {
		val = 1
	}
	var opErr error
	if err := rc.Control(func(sock uintptr) {
		if opErr = unix.SetsockoptInt(int(sock), unix.SOL_SOCKET, unix.SO_PASSCRED, val); opErr != nil {
			return
		}
		opErr = unix.SetsockoptInt(int(sock), unix.SOL_SOCKET, unix.SO_PASSPIDFD, val)
	}); err != nil {
		return fmt.Errorf("fdpass: pass credentials: %w", err)
	}
	if opErr == unix.ENOPROTOOPT && !on {
		return nil
	}
	if opErr == unix.ENOPROTOOPT {
		return fmt.Errorf("fdpass: SO_PASSPIDFD: %w (%w); before Linux 6.5 credentials come alone", errors.ErrUnsupported, opErr)
	}
	if opErr != nil {
		return fmt.Errorf("fdpass: pass credentials: %w", opErr)
	}
	return nil
}
