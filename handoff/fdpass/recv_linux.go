package fdpass

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// Recv receives one message with one recvmsg(2), waiting for it until c's read deadline. Its bytes land in buf, which
// must be as long as the longest message that is acceptable; Message.Payload is a part of buf.
//
// The caller owns the message's descriptors: it takes out what it wants and calls [Message.Close]. On error there are
// none. All are close-on-exec; their status flags are as the sender left them. How many came is for the caller to check.
//
// If nothing but descriptors was lost, because this process has no room for them, the message is returned beside
// [ErrTruncated], with its payload alone, so that the sender can be told.
//
// On a SOCK_STREAM socket a receive never spans bytes that came with two sets of descriptors; otherwise message
// boundaries are lost, as usual.
//
// Several goroutines may call Recv and TryRecv on c at once, with buffers of their own; each message goes to one of them. The
// Message is the caller's alone.
//
// Errors: io.EOF at the end, [ErrTruncated], what the read deadline gives (os.ErrDeadlineExceeded), or the system's. When
// the other side closes with messages of ours unread, the kernel reports ECONNRESET once, on SOCK_SEQPACKET even before
// messages of theirs that are still queued: pass over one, and receive again.
func Recv(c *net.UnixConn, buf []byte) (*Message, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("fdpass: receive: %w", err)
	}
	var m *Message
	var opErr error
	if err := rc.Read(func(sock uintptr) bool {
		m, opErr = recvOnce(int(sock), buf)
		return !errors.Is(opErr, unix.EAGAIN)
	}); err != nil {
		m.Close()
		return nil, fmt.Errorf("fdpass: receive: %w", err)
	}
	return m, wrapRecv(opErr)
}

// TryRecv receives a message that is queued already, as [Recv] does, whatever c's read deadline says. If there is none
// it returns [ErrWouldBlock] at once.
//
// It is for the last look after a deadline or a death: what was queued before counts. Several goroutines may call it at
// once, and beside Recv.
func TryRecv(c *net.UnixConn, buf []byte) (*Message, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("fdpass: receive: %w", err)
	}
	var m *Message
	var opErr error
	if err := rc.Control(func(sock uintptr) {
		m, opErr = recvOnce(int(sock), buf)
	}); err != nil {
		return nil, fmt.Errorf("fdpass: receive: %w", err)
	}
	if errors.Is(opErr, unix.EAGAIN) {
		return nil, ErrWouldBlock
	}
	return m, wrapRecv(opErr)
}

func wrapRecv(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err // bare, as readers of streams expect
	}
	return fmt.Errorf("fdpass: receive: %w", err)
}

// recvOnce is one recvmsg(2) that does not block. A system error is bare.
func recvOnce(sock int, buf []byte) (*Message, error) {
	if len(buf) == 0 {
		return nil, unix.EINVAL // a stream would answer 0, which is EOF
	}
	var control [controlSpace]byte
	return recvControl(sock, buf, control[:])
}

func recvControl(sock int, buf, control []byte) (*Message, error) {
	var got received
	n, err := recvChecked(sock, buf, control, &got)
	if err != nil {
		if n > 0 {
			return &Message{Payload: buf[:n]}, err
		}
		return nil, err
	}
	m := &Message{Payload: buf[:n], FDs: listener.NewFDs(got.fds), Cred: got.cred}
	if got.pidfd >= 0 {
		m.PidFD = listener.NewFD(got.pidfd)
	}
	return m, nil
}

// recvChecked is one recvmsg(2) that does not block. It fills got, whose numbers the caller owns then; on error there are
// none. If they alone were lost, it returns the length of the payload with the error. The buffer of got.fds is used again.
func recvChecked(sock int, buf, control []byte, got *received) (int, error) {
	var controlLen, flags int
	got.reset()
	n, err := retry(func() (n int, err error) {
		n, controlLen, flags, _, err = unix.Recvmsg(sock, buf, control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		return n, err
	})
	if err != nil {
		return 0, err
	}
	err = got.parse(control[:controlLen])
	switch errno := syscall.Errno(-got.pidfd); {
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrTruncated, err)
	case flags&unix.MSG_CTRUNC != 0:
		err = fmt.Errorf("%w: descriptors were lost; raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE=)", ErrTruncated)
		if flags&unix.MSG_TRUNC == 0 {
			got.close()
			return n, err
		}
	case got.pidfd < 0 && (errno == unix.EMFILE || errno == unix.ENFILE):
		err = fmt.Errorf("%w: no room for a pidfd; raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE=): %w", ErrTruncated, errno)
	case flags&unix.MSG_TRUNC != 0:
		err = fmt.Errorf("%w: more than %d bytes; the other side does not keep to the limit", ErrTruncated, len(buf))
	case n == 0 && len(got.fds) > 0:
		err = fmt.Errorf("%w: descriptors without a byte of payload", ErrTruncated)
	case n == 0:
		err = io.EOF // an empty message on SOCK_SEQPACKET looks the same
	}
	if err != nil {
		got.close()
		return 0, err
	}
	return n, nil
}
