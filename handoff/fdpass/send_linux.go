package fdpass

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
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
// Several goroutines may Send on c at once; their messages do not interleave. No privilege is needed.
//
// Errors: [ErrTooMany] for more than [MaxFDs], see [SendAll]; ETOOMANYREFS if this user has more descriptors in flight
// than RLIMIT_NOFILE allows, which SendAll waits for; what the write deadline gives; the system's. See unix(7).
func Send(c *net.UnixConn, payload []byte, fds ...syscall.Conn) error {
	if len(payload) == 0 {
		return fmt.Errorf("fdpass: send: payload needs at least one byte: %w", unix.EINVAL)
	}
	if len(fds) > MaxFDs {
		return fmt.Errorf("fdpass: send: %w for one message: %d, at most %d; use SendAll", ErrTooMany, len(fds), MaxFDs)
	}
	rc, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("fdpass: send: %w", err)
	}
	s := sender{conns: fds}
	var opErr error
	err = rc.Write(func(sock uintptr) bool {
		// Until all is taken or EAGAIN, because only after EAGAIN is the poller sure to call again.
		for {
			var n int
			n, opErr = s.once(int(sock), payload, 0, len(fds))
			if opErr != nil {
				return !errors.Is(opErr, unix.EAGAIN)
			}
			fds = nil // they went with the first byte
			if payload = payload[n:]; len(payload) == 0 {
				return true
			}
		}
	})
	if err == nil {
		err = opErr
	}
	return wrapSend(err)
}

func wrapSend(err error) error {
	if errors.Is(err, unix.ETOOMANYREFS) {
		return fmt.Errorf("fdpass: send: this user has more descriptors in flight than RLIMIT_NOFILE; raise it, or let the receivers go on: %w", err)
	}
	if err != nil {
		return fmt.Errorf("fdpass: send: %w", err)
	}
	return nil
}

// sender borrows descriptors for one sendmsg(2) at a time. Its buffers serve for many. It has either kind.
type sender struct {
	own   []*listener.FD
	conns []syscall.Conn

	control []byte
	ns      []int
	fds     []*listener.FD
	raws    []syscall.RawConn
}

// once is one sendmsg(2) that does not block, of payload and descriptors from up to end.
func (s *sender) once(sock int, payload []byte, from, end int) (n int, err error) {
	// MSG_NOSIGNAL: a descriptor 1 or 2 would otherwise end the process with SIGPIPE, see os/signal.
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	if from == end {
		return retry(func() (int, error) { return unix.SendmsgN(sock, payload, nil, nil, flags) })
	}
	var opErr error
	if err := s.borrow(from, end, func(ns []int) {
		s.control = appendRights(s.control[:0], ns)
		n, opErr = retry(func() (int, error) { return unix.SendmsgN(sock, payload, s.control, nil, flags) })
	}); err != nil {
		return 0, err
	}
	return n, opErr
}

// borrow lends the numbers of descriptors from up to end to fn, all at once.
func (s *sender) borrow(from, end int, fn func(ns []int)) error {
	if cap(s.ns) < end-from {
		s.ns = make([]int, 0, end-from)
		s.control = make([]byte, 0, unix.CmsgSpace((end-from)*4))
	}
	if s.conns == nil {
		return listener.ControlAll(s.own[from:end], s.ns[:0], fn)
	}
	conns := s.conns[from:end]
	s.fds = s.fds[:0]
	for _, c := range conns {
		fd, ok := c.(*listener.FD)
		if !ok {
			return s.borrowNested(conns, fn)
		}
		s.fds = append(s.fds, fd)
	}
	return listener.ControlAll(s.fds, s.ns[:0], fn)
}

// borrowNested calls Control inside Control inside Control: a number is only good while its own call lasts. All calls
// get the same function, so that none of them allocates.
func (s *sender) borrowNested(conns []syscall.Conn, fn func(ns []int)) error {
	s.raws = s.raws[:0]
	for i, c := range conns {
		raw, err := c.SyscallConn()
		if err != nil {
			return fmt.Errorf("descriptor %d of %d: %w", i+1, len(conns), err)
		}
		s.raws = append(s.raws, raw)
	}
	ns := s.ns[:0]
	var innermost error
	var step func(fd uintptr)
	next := func() {
		i := len(ns)
		if i == len(s.raws) {
			fn(ns)
			return
		}
		if err := s.raws[i].Control(step); err != nil {
			innermost = fmt.Errorf("descriptor %d of %d: %w", i+1, len(s.raws), err)
		}
	}
	step = func(fd uintptr) {
		ns = append(ns, int(fd))
		next()
	}
	next()
	return innermost
}

// appendRights is unix.UnixRights into a buffer that can be used again.
func appendRights(b []byte, ns []int) []byte {
	b = slices.Grow(b, unix.CmsgSpace(len(ns)*4))
	var head unix.Cmsghdr
	head.Level, head.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	head.SetLen(unix.CmsgLen(len(ns) * 4))
	b = append(b, (*[unix.SizeofCmsghdr]byte)(unsafe.Pointer(&head))[:]...)
	for _, n := range ns {
		b = binary.NativeEndian.AppendUint32(b, uint32(n))
	}
	for len(b) < unix.CmsgSpace(len(ns)*4) {
		b = append(b, 0)
	}
	return b
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
