package link

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// This is the reader of a link: a goroutine that takes frames off the connection, and passes them on to whoever calls Recv.

func (l *Link) read() {
	defer close(l.frames)
	buf := make([]byte, wire.MaxFrame)
	for {
		l.look()
		m, err := l.receive(buf)
		switch {
		case m != nil:
			if !l.pass(m, err) {
				return
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !l.flush(buf) {
				return
			}
		case l.passOver(err):
		default:
			l.deliver(Frame{err: err})
			return
		}
	}
}

// receive is fdpass.Recv. The first message brings a pidfd, which is lost with the message if there is no descriptor for it.
func (l *Link) receive(buf []byte) (m *fdpass.Message, err error) {
	if l.Spares == nil {
		return fdpass.Recv(l.Conn, buf)
	}
	raw, err := l.Conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	for {
		err = raw.Read(func(n uintptr) bool {
			ready, _ := unix.Poll([]unix.PollFd{{Fd: int32(n), Events: unix.POLLIN}}, 0)
			return ready != 0
		})
		if err != nil {
			return nil, err
		}
		m, err = l.tryRecv(buf)
		if !errors.Is(err, fdpass.ErrWouldBlock) {
			return m, err
		}
	}
}

func (l *Link) tryRecv(buf []byte) (m *fdpass.Message, err error) {
	if l.Spares == nil {
		return fdpass.TryRecv(l.Conn, buf)
	}
	_ = l.Spares.Do(1, 1, func() error {
		m, err = fdpass.TryRecv(l.Conn, buf)
		return nil // what was lost cannot be had again
	})
	return m, err
}

// passOver reports whether err is no end: the other side has closed with something unread, which is reported once, and what
// it had sent before is still to be read (unix(7)).
func (l *Link) passOver(err error) bool {
	if l.reset || !errors.Is(err, syscall.ECONNRESET) {
		return false
	}
	l.reset = true
	return true
}

// pass delivers m; lost is why its descriptors are not there, if they should be.
func (l *Link) pass(m *fdpass.Message, lost error) bool {
	l.hear(m)
	l.Spares = nil
	msg, err := wire.Decode(m.Payload)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrProtocol, err)
	} else if _, ok := msg.(*wire.Conns); !ok {
		err = lost // what is to become of other messages cannot be said to anybody
	}
	if err != nil {
		m.Close()
		l.deliver(Frame{err: err})
		return false
	}
	if l.Aside != nil && l.Aside(msg) {
		m.Close()
		return true
	}
	return l.deliver(Frame{Msg: msg, Raw: m, Lost: lost, who: l.witness.candidate, whoErr: l.witness.err})
}

func (l *Link) deliver(f Frame) bool {
	select {
	case l.frames <- f:
		return true
	case <-l.quit:
		f.Raw.Close()
		return false
	}
}

// flush answers a sync: it passes on all that is queued when it begins, and then says so. A deadline in the past makes Recv fail
// without looking, so this looks without a deadline.
func (l *Link) flush(buf []byte) bool {
	_ = l.Conn.SetReadDeadline(time.Time{}) // before the look at syncs: whoever asks from here on sets it again
	asked := l.syncs.Load()
	left, err := l.queued()
	bounded := err == nil
	for {
		l.look()
		m, err := l.tryRecv(buf)
		if l.passOver(err) {
			continue
		}
		if errors.Is(err, fdpass.ErrWouldBlock) {
			break
		}
		if m == nil { // the end came before the deadline for which Recv asks
			l.deliver(Frame{err: err})
			return false
		}
		if bounded && left <= 0 { // it came since
			l.answer(asked)
			return l.pass(m, err)
		}
		left -= len(m.Payload) // at least 1: a message without a payload is malformed, and ends the link
		if !l.pass(m, err) {
			return false
		}
	}
	l.answer(asked)
	return true
}

// answer answers the syncs up to that one.
func (l *Link) answer(sync uint64) {
	select {
	case <-l.synced: // an answer that nobody waited for
	default:
	}
	l.synced <- sync
}
