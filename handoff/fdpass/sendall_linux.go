package fdpass

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

const (
	// maxBlock is the most bytes that go into one message; less where SO_SNDBUF is small. A stream would cut longer ones
	// (unix_stream_sendmsg), and a packet could not be longer than SO_SNDBUF.
	maxBlock = 32 << 10

	// minBlock fits the smallest SO_SNDBUF there is, 4,608 bytes (SOCK_MIN_SNDBUF).
	minBlock = 2048

	// window is how much may be queued when a series sends its next message, as SIOCOUTQ counts it: a message is charged
	// 768 bytes and more (SKB_TRUESIZE), so there are at most 8 messages and 2,024 descriptors in flight. A user with more
	// than that is made to wait for the garbage collector of net/unix (UNIX_INFLIGHT_SANE_USER), and all of its processes
	// share one limit.
	window = 8 * 768

	// While a message is freed, the socket is still charged 1 byte (sock_wfree), so that one never waits for 0.
	nearlyEmpty = 1
)

// SendAll sends payload and copies of any number of fds, which [RecvAll] puts together again.
//
// It borrows c and fds, as [Send] does, in lots of at most [MaxFDs]. If all fits one message (1 to MaxFDs descriptors, 1
// to 32 KiB of payload), then that is all that is sent, the same that Send sends, and whoever reads SCM_RIGHTS can read
// it. Otherwise it is a series of messages, for RecvAll only: a header, then payload and descriptors side by side.
//
// Sending a series waits for its receiver: no more than 8 messages are in flight, which the kernel itself tells
// (SIOCOUTQ, unix(7)), so that no answers are needed, and no other process of this user runs into ETOOMANYREFS on
// account of this one. If this process meets that error, SendAll waits until others have received. All waiting ends with
// c's write deadline; so it needs one, or a receiver that can be relied on.
//
// nil does not mean that all was received: the last messages may still be queued, holding their descriptors open. If
// that matters, let the other side answer.
//
// On error the other side may have a part of the series: close c. Nobody else may send on c until SendAll has returned.
// Errors are those of Send; EMSGSIZE for a payload of 2 GiB or more, of which nothing is sent; when the deadline passed while there were too many descriptors in flight, then both
// os.ErrDeadlineExceeded and ETOOMANYREFS. No privilege is needed.
func SendAll[C syscall.Conn](c *net.UnixConn, payload []byte, fds []C) error {
	s := series{count: len(fds), payload: payload}
	switch list := any(fds).(type) {
	case []*listener.FD:
		s.own = list
	case []syscall.Conn:
		s.conns = list
	default:
		s.conns = make([]syscall.Conn, len(fds))
		for i, fd := range fds {
			s.conns[i] = fd
		}
	}
	return s.send(c)
}

// series is what is left to send.
type series struct {
	sender
	count int // of descriptors

	sent    int // descriptors
	message []byte
	rides   int // how many descriptors go with the first byte of message
	payload []byte
	padding int

	begun, full bool
	pause       time.Duration
}

func (s *series) send(c *net.UnixConn) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return wrapSend(err)
	}
	block := minBlock
	var opErr error
	if s.count > MaxFDs || len(s.payload) > minBlock {
		if err := rc.Control(func(sock uintptr) { block, opErr = blockSize(int(sock)) }); err != nil {
			return wrapSend(err)
		}
		if opErr != nil {
			return wrapSend(opErr)
		}
	}
	if s.count == 0 { // its message needs one nevertheless, see series.go
		n, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			return wrapSend(os.NewSyscallError("eventfd2", err))
		}
		end := listener.NewFD(n)
		defer end.Close()
		s.own, s.conns = []*listener.FD{end}, nil
	}
	if err := s.plan(block); err != nil {
		return wrapSend(err)
	}
	for {
		err := rc.Write(func(sock uintptr) bool {
			var done bool
			done, opErr = s.run(int(sock), block)
			return done
		})
		if err == nil && errors.Is(opErr, unix.ETOOMANYREFS) {
			// They are in flight elsewhere: no socket of ours will tell when there are less. Look again, and again; the
			// deadline and Close are seen by Write.
			s.pause = min(max(2*s.pause, 50*time.Microsecond), 10*time.Millisecond)
			time.Sleep(s.pause)
			continue
		}
		if err != nil && errors.Is(opErr, unix.ETOOMANYREFS) {
			return wrapSend(fmt.Errorf("%w: %w", err, opErr))
		}
		if err == nil {
			err = opErr
		}
		return wrapSend(err)
	}
}

// blockSize is how many bytes the kernel surely takes in one piece.
func blockSize(sock int) (int, error) {
	n, err := unix.GetsockoptInt(sock, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt SO_SNDBUF", err)
	}
	return min(maxBlock, max(n/2-64, minBlock)), nil
}

// plan decides on the form.
func (s *series) plan(block int) error {
	if 1 <= s.count && s.count <= MaxFDs && 1 <= len(s.payload) && len(s.payload) <= block && !isSeries(s.payload) {
		s.message, s.rides, s.payload = s.payload, s.count, nil
		return nil
	}
	h := header{fds: s.count, payload: len(s.payload)}
	s.count = max(s.count, 1)
	s.rides = min(s.count, MaxFDs)
	lots := (s.count - s.rides + MaxFDs - 1) / MaxFDs
	if len(s.payload) <= math.MaxInt32-block {
		h.padding = max(lots-(len(s.payload)+block-1)/block, 0)
	}
	if len(s.payload) > math.MaxInt32-h.padding { // which parseHeader refuses
		return fmt.Errorf("a payload of %d bytes; less than 2 GiB go into a series: %w", len(s.payload), unix.EMSGSIZE)
	}
	s.padding = h.padding
	s.message = h.append(make([]byte, 0, headerLen))
	return nil
}

// next makes the next message ready, if there is one.
func (s *series) next(block int) bool {
	switch {
	case len(s.payload) > 0:
		n := min(block, len(s.payload))
		s.message, s.payload = s.payload[:n], s.payload[n:]
	case s.padding > 0:
		s.message = append(s.message[:0:0], 0)
		s.padding--
	default:
		return false
	}
	s.rides = min(s.count-s.sent, MaxFDs)
	return true
}

// run sends until it is done, or fails, or has to wait until something was received: only then it returns false, because
// only then is the poller sure to call again. Its event is an edge, which each message makes that the other side
// receives, even if there is room all the time.
func (s *series) run(sock, block int) (done bool, err error) {
	for {
		if s.begun && s.mustWait(sock) {
			return false, nil
		}
		n, err := s.once(sock, s.message, s.sent, s.sent+s.rides)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return false, err
		case errors.Is(err, unix.ETOOMANYREFS):
			return queued(sock) <= nearlyEmpty, err
		case err != nil:
			return true, err
		}
		s.begun, s.pause = true, 0
		s.sent, s.rides = s.sent+s.rides, 0
		if s.message = s.message[n:]; len(s.message) == 0 && !s.next(block) {
			return true, nil
		}
	}
}

// mustWait reports whether the window is full. Once full it stays so until half of it is free, or each message would
// cost both sides a switch.
func (s *series) mustWait(sock int) bool {
	limit := window
	if s.full {
		limit = window / 2
	}
	s.full = queued(sock) >= limit
	return s.full
}

// queued is how much of what this socket sent was not received yet.
func queued(sock int) int {
	n, err := unix.IoctlGetInt(sock, unix.SIOCOUTQ)
	if err != nil {
		return 0 // what does not count does not bound: there is still ETOOMANYREFS
	}
	return n
}
