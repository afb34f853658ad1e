package fdpass

import (
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// RecvAll receives what one [SendAll] sent, or one [Send], or any program with one message of SCM_RIGHTS. It waits for it
// until c's read deadline. The payload lands in buf, which must be as long as the longest that is acceptable, and one byte
// or more; Message.Payload is a part of it. At most limit descriptors are accepted.
//
// The caller owns the message's descriptors, as with [Recv]. With [PassCred] on, Cred and PidFD are of the first message,
// and a series whose messages come from different processes is refused. Whether descriptors came that were not wanted is
// for the caller to check below limit; Message.Close closes them.
//
// A Send of bytes that begin with the eight of a series (series.go) would be taken for one; SendAll sees to that.
//
// Errors are those of Recv, and [ErrTooMany]. Everything that was received is closed then. On any error but io.EOF, the
// rest of a series may still be queued: close c, which closes that as well. On SOCK_STREAM, do not read c through a buffer
// (bufio) that could take what belongs to a series. Nobody else may receive from c, or call PassCred on it, until RecvAll has
// returned.
func RecvAll(c *net.UnixConn, buf []byte, limit int) (*Message, error) {
	if len(buf) == 0 {
		return nil, fmt.Errorf("fdpass: receive: the buffer needs at least one byte: %w", unix.EINVAL)
	}
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("fdpass: receive: %w", err)
	}
	a := assembly{buf: buf, limit: max(limit, 0)}
	var opErr error
	err = rc.Read(func(sock uintptr) bool {
		opErr = a.run(int(sock))
		return !errors.Is(opErr, unix.EAGAIN)
	})
	if err == nil {
		err = opErr
	}
	if err != nil {
		if a.begun {
			err = fmt.Errorf("in a series, after %d of %d descriptors: %w", len(a.m.FDs), a.want.fds, err)
		}
		a.m.Close()
		return nil, wrapRecv(err)
	}
	m := a.m // a copy, which does not keep the rest alive
	return &m, nil
}

// assembly is a series on its way in.
type assembly struct {
	m     Message
	buf   []byte
	limit int
	got   received

	begun bool // the header was read
	reset bool // ECONNRESET was seen
	want  header
	left  header // of payload and padding
}

// run receives until all is there, or there is an error, bare; EAGAIN if nothing is queued.
func (a *assembly) run(sock int) error {
	var control [controlSpace]byte
	if !a.begun {
		if whole, err := a.first(sock, control[:]); whole || err != nil {
			return err
		}
	}
	for a.left.payload > 0 || a.left.padding > 0 {
		if err := a.more(sock, control[:]); err != nil {
			return err
		}
	}
	if len(a.m.FDs) != a.want.fds {
		return fmt.Errorf("%w: the other side sent fewer than it had announced", ErrTruncated)
	}
	return nil
}

// first receives a message that is whole, or the header of a series.
func (a *assembly) first(sock int, control []byte) (whole bool, err error) {
	buf := a.buf
	if len(buf) < headerLen {
		buf = make([]byte, headerLen)
	}
	n, err := recvChecked(sock, buf, control, &a.got)
	if err != nil {
		return false, err
	}
	a.m.Cred = a.got.cred
	if a.got.pidfd >= 0 {
		a.m.PidFD, a.got.pidfd = listener.NewFD(a.got.pidfd), noPidFD
	}
	if !isSeries(buf[:n]) {
		a.m.FDs = listener.NewFDs(a.got.fds)
		switch {
		case n > len(a.buf):
			return false, fmt.Errorf("%w: more than %d bytes; the other side does not keep to the limit", ErrTruncated, len(a.buf))
		case len(a.m.FDs) > a.limit:
			return false, fmt.Errorf("%w: %d came, at most %d expected", ErrTooMany, len(a.m.FDs), a.limit)
		}
		a.m.Payload = a.buf[:copy(a.buf, buf[:n])]
		return true, nil
	}
	a.want, err = parseHeader(buf[:n], a.limit, len(a.buf))
	if err != nil {
		a.got.close()
		return false, err
	}
	a.begun, a.left = true, a.want
	a.m.Payload = a.buf[:a.want.payload]
	if a.want.fds == 0 && len(a.got.fds) == 1 {
		a.got.close() // it only ended the read, see series.go
		return false, nil
	}
	a.m.FDs = make([]*listener.FD, 0, a.want.fds)
	return false, a.take()
}

// more receives another message of the series, or a part of one.
func (a *assembly) more(sock int, control []byte) error {
	var padding [64]byte
	buf, left := a.m.Payload[a.want.payload-a.left.payload:], &a.left.payload
	if len(buf) == 0 {
		buf, left = padding[:min(a.left.padding, len(padding))], &a.left.padding
	}
	n, err := recvChecked(sock, buf, control, &a.got)
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", ErrTruncated, io.ErrUnexpectedEOF)
	case errors.Is(err, unix.ECONNRESET) && !a.reset:
		a.reset = true // what is queued counts, see Recv
		return nil
	case err != nil:
		return err
	}
	*left -= n
	if a.got.pidfd >= 0 {
		_ = unix.Close(a.got.pidfd)
		a.got.pidfd = noPidFD
	}
	if c := a.got.cred; a.m.Cred != nil && (c == nil || *c != *a.m.Cred) {
		a.got.close()
		return fmt.Errorf("%w: another process, %+v, goes on with what %+v began", ErrTruncated, c, a.m.Cred)
	}
	return a.take()
}

// take moves what came into the message.
func (a *assembly) take() error {
	if n := len(a.m.FDs) + len(a.got.fds); n > a.want.fds {
		a.got.close()
		return fmt.Errorf("%w: the other side sent more than the %d that it had announced", ErrTooMany, a.want.fds)
	}
	a.m.FDs = append(a.m.FDs, listener.NewFDs(a.got.fds)...)
	return nil
}
