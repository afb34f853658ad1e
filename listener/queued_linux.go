package listener

import (
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// acceptQueued takes what waits in the queue of ln, whose deadline has passed and is left so.
//
// A deadline that has passed keeps Accept from even trying, so it is lifted for a moment, but only if poll(2) sees
// somebody waiting. Should another process be faster, Accept comes back when the moment is over, and the question is
// asked again. A bare accept4(2) would not have to wait, but what it gets could be lost for want of the second
// descriptor that net.FileConn needs.
func acceptQueued(ln netListener) (net.Conn, error) {
	for {
		waiting, err := readable(ln)
		if err != nil {
			return nil, err
		}
		if !waiting {
			return nil, ErrEmpty
		}
		c, err := acceptWithin(ln, 20*time.Millisecond)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
	}
}

func readable(ln netListener) (bool, error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return false, err
	}
	var n int
	var pollErr error
	if err := raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			if n, pollErr = unix.Poll(fds, 0); pollErr != unix.EINTR {
				return
			}
		}
	}); err != nil {
		return false, err
	}
	return n > 0, os.NewSyscallError("poll", pollErr)
}

// lacksDescriptors reports whether err is that of accept(2) when this process, or the system, has no descriptor left.
func lacksDescriptors(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)
}

// emptyQueue reports whether no client waits.
func emptyQueue(ln netListener) bool {
	waiting, err := readable(ln)
	return err == nil && !waiting
}
