package fdpass

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Send sends payload and copies of fds as one message, in one sendmsg(2).
//
// It borrows c and fds: each is held open while the kernel copies them and stays the caller's, who may close it as soon
// as Send has returned. Send waits for room in the socket's buffer until c's write deadline; it holds fds only while it
// tries, never while it waits. payload must have at least one byte, because descriptors do not travel alone on a stream.
//
// On a SOCK_STREAM socket the kernel may take a part of payload: the descriptors go with the first byte, and Send then
// writes the rest before it returns. If that fails, the other side has a part of the message; close c. On SOCK_SEQPACKET
// a message is taken whole or not at all.
//
// Several goroutines may Send on c at once; their messages do not interleave.
func Send(c *net.UnixConn, payload []byte, fds ...syscall.Conn) error {
	if len(payload) == 0 {
		return fmt.Errorf("fdpass: send: payload needs at least one byte: %w", unix.EINVAL)
	}
	if len(fds) > MaxFDs {
		return fmt.Errorf("fdpass: send: %w: %d, at most %d; send several messages", ErrTooMany, len(fds), MaxFDs)
	}
	raws := make([]syscall.RawConn, len(fds))
	for i, fd := range fds {
		raw, err := fd.SyscallConn()
		if err != nil {
			return fmt.Errorf("fdpass: send: descriptor %d of %d: %w", i+1, len(fds), err)
		}
		raws[i] = raw
	}
	rc, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("fdpass: send: %w", err)
	}
	var opErr error
	err = rc.Write(func(sock uintptr) bool {
		// Until all is taken or EAGAIN, because only after EAGAIN is the poller sure to call again.
		for {
			var n int
			n, opErr = sendOnce(int(sock), payload, raws)
			if opErr != nil {
				return !errors.Is(opErr, unix.EAGAIN)
			}
			raws = nil // they went with the first byte
			if payload = payload[n:]; len(payload) == 0 {
				return true
			}
		}
	})
	if err == nil {
		err = opErr
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ETOOMANYREFS):
		return fmt.Errorf("fdpass: send: more descriptors in flight than RLIMIT_NOFILE; raise it, or let the other side receive first: %w", err)
	}
	return fmt.Errorf("fdpass: send: %w", err)
}

// sendOnce borrows all of raws at once, for the time of one sendmsg(2) that does not block.
func sendOnce(sock int, payload []byte, raws []syscall.RawConn) (n int, err error) {
	// MSG_NOSIGNAL: a descriptor 1 or 2 would otherwise end the process with SIGPIPE, see os/signal.
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	if len(raws) == 0 {
		return retry(func() (int, error) { return unix.SendmsgN(sock, payload, nil, nil, flags) })
	}
	nums := make([]int, 0, len(raws))
	// Controls are nested rather than called in turn: a number is only good while its own Control lasts.
	var borrow func() error
	borrow = func() error {
		if len(nums) == len(raws) {
			n, err = retry(func() (int, error) { return unix.SendmsgN(sock, payload, unix.UnixRights(nums...), nil, flags) })
			return err
		}
		i := len(nums)
		var inner error
		if err := raws[i].Control(func(fd uintptr) {
			nums = append(nums, int(fd))
			inner = borrow()
		}); err != nil {
			return fmt.Errorf("descriptor %d of %d: %w", i+1, len(raws), err)
		}
		return inner
	}
	err = borrow()
	return n, err
}

// retry calls fn again when a signal interrupted it.
func retry(fn func() (int, error)) (int, error) {
	for {
		n, err := fn()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
