package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/wire"
	"golang.org/x/sys/unix"
)

// Link is one connection of the protocol: frames in, frames out, and the process at the other end. One goroutine at a
// time may call Recv and what calls it; Send may be called from several.
type Link struct {
	Options
	Conn *net.UnixConn // for what the kernel says of it: only the link reads and writes
	Peer *peer.Peer    // nil until it has introduced itself; Close closes it

	frames chan Frame    // from the reader; closed when it ends
	synced chan uint64   // the reader has passed on all that was queued at that sync
	syncs  atomic.Uint64 // syncs asked for
	quit   chan struct{} // closed by Close
	reset  bool          // the reader has passed over an ECONNRESET
	ended  error         // why Recv gives nothing more; owned by the caller of Recv
	due    due           // likewise

	witness witness
}

// Options are what a link is to know. Only Step must be set.
type Options struct {
	Other string        // what the process at the other end is, for errors: successor, or incumbent
	Step  time.Duration // bounds each message
	// Sent and Received observe: they are called with a message that has been sent, and with one before Recv returns it, and the
	// number of its descriptors.
	Sent, Received func(m wire.Message, descriptors int)
	// Spares are for the pidfd that comes with the first message, which is lost if there is no descriptor for it. Nil: none comes.
	Spares *spares.Pool
	// Expect is who is to speak, where messages come without pidfds; nil otherwise, or if that is not known. The link closes it.
	Expect *peer.Peer
}

// Frame is a message and the descriptors that came with it.
type Frame struct {
	Msg  wire.Message
	Raw  *fdpass.Message // with the descriptors, which are the caller's to take or to close
	Lost error           // why the descriptors of a CONNS have not come; the other side still has its own

	err    error      // the end, instead of a message
	who    *peer.Peer // see witness
	whoErr error      // why there is none
}

// New takes conn. The reader ends with Close.
func New(conn *net.UnixConn, options Options) *Link {
	l := &Link{
		Options: options,
		Conn:    conn,
		frames:  make(chan Frame),
		synced:  make(chan uint64, 1),
		quit:    make(chan struct{}),
	}
	l.witness.candidate = l.Expect
	l.look() // before anything is said that could be answered
	go l.read()
	return l
}

// Close ends the link and waits for its reader. What is queued unread is dropped, its descriptors closed.
func (l *Link) Close() {
	close(l.quit)
	_ = l.Conn.Close()
	for f := range l.frames {
		f.Raw.Close()
	}
	if l.Peer != nil {
		_ = l.Peer.Close()
	}
	if c := l.witness.candidate; c != nil && c != l.Peer {
		_ = c.Close()
	}
}

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

// HangUp ends the link. What becomes of the process at the other end can still be seen.
func (l *Link) HangUp() { _ = l.Conn.Close() }

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

// Send sends one message, within the step timeout. It borrows fds, of which none is sent while this user has too many in
// flight: the other side waits for this message as long, so half of that time must do.
func (l *Link) Send(m wire.Message, fds ...syscall.Conn) error {
	return l.sendWithin(l.Step/2, nil, m, fds)
}

// SendNow is Send, but does not wait for descriptors in flight: the error is ETOOMANYREFS then.
func (l *Link) SendNow(m wire.Message, fds ...syscall.Conn) error {
	b, err := wire.Encode(m)
	if err != nil {
		return err
	}
	if err := l.Conn.SetWriteDeadline(time.Now().Add(l.Step)); err != nil {
		return err
	}
	if err := fdpass.Send(l.Conn, b, fds...); err != nil {
		return fmt.Errorf("send %s: %w", m.Type(), err)
	}
	if l.Sent != nil {
		l.Sent(m, len(fds))
	}
	return nil
}

// Tell is Send, but nil also if the other side is gone: whoever reads from the link finds that out.
func (l *Link) Tell(m wire.Message) error {
	if err := l.Send(m); err != nil && !Over(err) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// SendUntil is Send, but waits for the whole step timeout, or until stop is closed, while this user has too many descriptors in
// flight: for what nobody waits for.
func (l *Link) SendUntil(stop <-chan struct{}, m wire.Message, fds ...syscall.Conn) error {
	return l.sendWithin(l.Step, stop, m, fds)
}

// sendWithin is SendNow, again and again for as long as d while this user has too many descriptors in flight, in whatever
// process: no event tells when there are less.
func (l *Link) sendWithin(d time.Duration, stop <-chan struct{}, m wire.Message, fds []syscall.Conn) error {
	const most = 10 * time.Millisecond
	for pause, until := time.Millisecond, time.Now().Add(d); ; pause = min(2*pause, most) {
		err := l.SendNow(m, fds...)
		if !errors.Is(err, syscall.ETOOMANYREFS) || time.Now().After(until) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-stop:
			return err
		case <-l.quit:
			return err
		}
	}
}

// Expect is Recv for a message without descriptors of one of two kinds: M, or one that ends the attempt, which becomes
// an error.
func Expect[M wire.Message](ctx context.Context, l *Link, d time.Duration) (M, error) {
	var none M
	f, err := l.Recv(ctx, d)
	if err != nil {
		return none, err
	}
	return MessageOf[M](l, f)
}

// MessageOf is the message of f, if it is an M.
func MessageOf[M wire.Message](l *Link, f Frame) (M, error) {
	f.Raw.Close() // surplus
	if m, ok := f.Msg.(M); ok {
		return m, nil
	}
	var none M
	return none, l.Unexpected(f.Msg)
}

// Who names the process at the other end.
func (l *Link) Who() string {
	if l.Peer == nil || l.Peer.PID == 0 { // it has not introduced itself, or has no number here
		return "the " + l.Other
	}
	return fmt.Sprintf("the %s (process %d)", l.Other, l.Peer.PID)
}

// Unexpected makes an error of a message that does not belong where it came, or that ends the attempt.
func (l *Link) Unexpected(m wire.Message) error {
	switch m := m.(type) {
	case *wire.Failed:
		if m.Returned {
			return fmt.Errorf("%w: %s says: %s", ErrReturned, l.Who(), m.Reason)
		}
		return fmt.Errorf("%w: %s says: %s", ErrAborted, l.Who(), m.Reason)
	case *wire.Abort:
		return fmt.Errorf("%w: %s says: %s", ErrAborted, l.Who(), m.Reason)
	case *wire.Goodbye:
		return fmt.Errorf("%w: %s stops for good: %s", ErrAborted, l.Who(), m.Reason)
	case *wire.Refuse:
		switch m.Code {
		case wire.CodeVersion:
			return fmt.Errorf("%w: it speaks %v: %s", ErrVersion, m.Versions, beyond(ErrVersion, m.Reason))
		case wire.CodeUnauthorized:
			return fmt.Errorf("%w: %s", ErrUnauthorized, m.Reason)
		case wire.CodeTransport:
			return fmt.Errorf("%w: %s", ErrTransport, beyond(ErrTransport, m.Reason))
		case wire.CodeUnsupported:
			return fmt.Errorf("%w: %s never hands over to this process (%w): %s", ErrAborted, l.Who(), errors.ErrUnsupported, m.Reason)
		default:
			return fmt.Errorf("%w: %s refused (%s): %s", ErrAborted, l.Who(), m.Code, m.Reason)
		}
	default:
		return fmt.Errorf("%w: unexpected %s", ErrProtocol, m.Type())
	}
}

// beyond is what a reason says beyond the text of err, with which it may begin: here that is put before it too.
func beyond(err error, reason string) string { return strings.TrimPrefix(reason, err.Error()+": ") }

// Explain makes of an end of the link what the other side said last, or [ErrPeerDied] if it has died, or is about to: the
// kernel closes its descriptors before its pidfd tells. It calls Recv.
func (l *Link) Explain(err error) error {
	if !Over(err) && !errors.Is(err, fdpass.ErrGone) || errors.Is(err, ErrPeerDied) || l.Peer == nil {
		return err
	}
	grace := min(l.Step, ExitGrace)
	for until := time.Now().Add(grace); ; { // a send that failed has not seen what the other side had to say before
		f, ended := l.RecvBy(context.Background(), until, grace)
		if ended != nil {
			break
		}
		f.Raw.Close()
		switch f.Msg.(type) {
		case *wire.Failed, *wire.Abort, *wire.Goodbye, *wire.Refuse:
			return l.Unexpected(f.Msg)
		}
	}
	if l.Peer.Await(context.Background(), grace) {
		return fmt.Errorf("%w: %w", ErrPeerDied, err)
	}
	return err
}
