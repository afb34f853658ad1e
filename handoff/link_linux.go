package handoff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/wire"
	"golang.org/x/sys/unix"
)

// link is one connection of the protocol: frames in, frames out, and the process at the other end. One goroutine at a
// time may call recv; send may be called from several.
type link struct {
	conn  *net.UnixConn
	peer  *peer.Peer // nil until it has introduced itself
	other string     // what the process at the other end is: successor, or incumbent
	step  time.Duration
	trace *Trace

	starved *spares.Pool // for the pidfd that comes with the first message; nil for none

	frames chan frame    // from the reader; closed when it ends
	synced chan uint64   // the reader has passed on all that was queued at that sync
	syncs  atomic.Uint64 // syncs asked for
	quit   chan struct{} // closed by close
	reset  bool          // the reader has passed over an ECONNRESET
	ended  error         // why recv gives nothing more; owned by the caller of recv
}

// frame is a message and the descriptors that came with it, or the end.
type frame struct {
	msg  wire.Message
	raw  *fdpass.Message
	lost error // why the descriptors of a CONNS have not come; the other side still has its own
	err  error
}

// newLink takes conn. The reader ends with close.
func newLink(conn *net.UnixConn, step time.Duration, trace *Trace, starved *spares.Pool) *link {
	l := &link{
		conn:    conn,
		other:   "successor",
		step:    step,
		trace:   trace,
		starved: starved,
		frames:  make(chan frame),
		synced:  make(chan uint64, 1),
		quit:    make(chan struct{}),
	}
	go l.read()
	return l
}

// close ends the link and waits for its reader. What is queued unread is dropped, its descriptors closed.
func (l *link) close() {
	close(l.quit)
	_ = l.conn.Close()
	for f := range l.frames {
		f.raw.Close()
	}
	if l.peer != nil {
		_ = l.peer.Close()
	}
}

func (l *link) read() {
	defer close(l.frames)
	buf := make([]byte, wire.MaxFrame)
	for {
		m, err := l.receive(buf)
		switch {
		case m != nil:
			l.starved = nil
			if !l.pass(m, err) {
				return
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !l.flush(buf) {
				return
			}
		case l.passOver(err):
		default:
			l.deliver(frame{err: err})
			return
		}
	}
}

// receive is fdpass.Recv. The first message brings a pidfd, which is lost with the message if there is no descriptor for it.
func (l *link) receive(buf []byte) (m *fdpass.Message, err error) {
	if l.starved == nil {
		return fdpass.Recv(l.conn, buf)
	}
	raw, err := l.conn.SyscallConn()
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

func (l *link) tryRecv(buf []byte) (m *fdpass.Message, err error) {
	if l.starved == nil {
		return fdpass.TryRecv(l.conn, buf)
	}
	_ = l.starved.Do(1, 1, func() error {
		m, err = fdpass.TryRecv(l.conn, buf)
		return nil // what was lost cannot be had again
	})
	return m, err
}

// flush answers a sync: it passes on all that is queued, and then says so. A deadline in the past makes Recv fail without
// looking, so this looks without a deadline.
func (l *link) flush(buf []byte) bool {
	_ = l.conn.SetReadDeadline(time.Time{}) // before the look at syncs: whoever asks from here on sets it again
	asked := l.syncs.Load()
	for {
		m, err := l.tryRecv(buf)
		if l.passOver(err) {
			continue
		}
		if m == nil {
			break // nothing queued, or an end that Recv is going to see again
		}
		if !l.pass(m, err) {
			return false
		}
	}
	select {
	case <-l.synced: // an answer that nobody waited for
	default:
	}
	l.synced <- asked
	return true
}

// passOver reports whether err is no end: the other side has closed with something unread, which is reported once, and what
// it had sent before is still to be read (unix(7)).
func (l *link) passOver(err error) bool {
	if l.reset || !errors.Is(err, syscall.ECONNRESET) {
		return false
	}
	l.reset = true
	return true
}

// pass delivers m; lost is why its descriptors are not there, if they should be.
func (l *link) pass(m *fdpass.Message, lost error) bool {
	msg, err := wire.Decode(m.Payload)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrProtocol, err)
	} else if _, ok := msg.(*wire.Conns); !ok {
		err = lost // what is to become of other messages cannot be said to anybody
	}
	if err != nil {
		m.Close()
		l.deliver(frame{err: err})
		return false
	}
	return l.deliver(frame{msg: msg, raw: m, lost: lost})
}

func (l *link) deliver(f frame) bool {
	select {
	case l.frames <- f:
		return true
	case <-l.quit:
		f.raw.Close()
		return false
	}
}

// send sends one message, within the step timeout. It borrows fds, of which none is sent while this user has too many in
// flight: the other side waits for this message as long, so half of that time must do.
func (l *link) send(m wire.Message, fds ...syscall.Conn) error {
	return l.sendWithin(l.step/2, nil, m, fds)
}

// sendNow is send, but does not wait for descriptors in flight: the error is ETOOMANYREFS then.
func (l *link) sendNow(m wire.Message, fds ...syscall.Conn) error {
	b, err := wire.Encode(m)
	if err != nil {
		return err
	}
	if err := l.conn.SetWriteDeadline(time.Now().Add(l.step)); err != nil {
		return err
	}
	if err := fdpass.Send(l.conn, b, fds...); err != nil {
		return fmt.Errorf("send %s: %w", m.Type(), err)
	}
	if l.trace.Sent != nil {
		l.trace.Sent(m.Type())
	}
	return nil
}

// tell is send, but nil also if the other side is gone: whoever reads from the link finds that out.
func (l *link) tell(m wire.Message) error {
	if err := l.send(m); err != nil && !over(err) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// sendConns sends a batch of connections, which it borrows, and waits for the step timeout, until stop is closed, while this
// user has too many descriptors in flight.
func (l *link) sendConns(m *wire.Conns, conns []live.Conn, stop <-chan struct{}) error {
	fds := make([]syscall.Conn, len(conns))
	for i, c := range conns {
		fds[i] = c
	}
	return l.sendWithin(l.step, stop, m, fds)
}

// sendWithin is sendNow, again and again for as long as d while this user has too many descriptors in flight, in whatever
// process: no event tells when there are less.
func (l *link) sendWithin(d time.Duration, stop <-chan struct{}, m wire.Message, fds []syscall.Conn) error {
	const most = 10 * time.Millisecond
	for pause, until := time.Millisecond, time.Now().Add(d); ; pause = min(2*pause, most) {
		err := l.sendNow(m, fds...)
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

// recv waits for the next message, for at most d (0: no bound), until ctx ends, or until the other process dies. Before
// it reports any of these it passes on what is queued: a process that was itself stopped finds its timers expired and the
// answer waiting. The caller takes the frame's descriptors.
func (l *link) recv(ctx context.Context, d time.Duration) (frame, error) {
	if l.ended != nil {
		return frame{}, l.ended
	}
	var expired <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		expired = t.C
	}
	var died <-chan struct{}
	if l.peer != nil {
		died = l.peer.Done()
	}
	var cause error
	select {
	case f, ok := <-l.frames:
		return l.received(f, ok)
	case <-ctx.Done():
		cause = context.Cause(ctx)
		if errors.Is(cause, errUnwatched) {
			return frame{}, cause // nothing follows from it, and what is queued is for the next recv
		}
	case <-died:
		cause = ErrPeerDied
	case <-expired:
		cause = noAnswer(d)
	}
	mine := l.syncs.Add(1)
	if err := l.conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return frame{}, cause
	}
	for {
		select {
		case f, ok := <-l.frames:
			if !ok || f.err != nil {
				return frame{}, cause // the end is no news beside the cause
			}
			return l.received(f, ok)
		case n := <-l.synced:
			if n >= mine {
				return frame{}, cause
			}
		}
	}
}

// recvBy is recv up to a deadline that may be that of several messages; d is how long all of them may take, for the error.
func (l *link) recvBy(ctx context.Context, deadline time.Time, d time.Duration) (frame, error) {
	f, err := l.recv(ctx, max(time.Until(deadline), time.Millisecond))
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
		err = noAnswer(d)
	}
	return f, err
}

func noAnswer(d time.Duration) error {
	return fmt.Errorf("no answer within %v: %w", d, os.ErrDeadlineExceeded)
}

func (l *link) received(f frame, ok bool) (frame, error) {
	switch {
	case !ok:
		l.ended = io.EOF
		return frame{}, l.ended
	case f.err != nil:
		l.ended = f.err
		return frame{}, l.ended
	}
	if l.trace.Received != nil {
		l.trace.Received(f.msg.Type())
	}
	return f, nil
}

// expect is recv for a message without descriptors of one of two kinds: M, or one that ends the attempt, which becomes
// an error.
func expect[M wire.Message](ctx context.Context, l *link, d time.Duration) (M, error) {
	var none M
	f, err := l.recv(ctx, d)
	if err != nil {
		return none, err
	}
	return messageOf[M](l, f)
}

// messageOf is the message of f, if it is an M.
func messageOf[M wire.Message](l *link, f frame) (M, error) {
	f.raw.Close() // surplus
	if m, ok := f.msg.(M); ok {
		return m, nil
	}
	var none M
	return none, l.unexpected(f.msg)
}

// who names the process at the other end.
func (l *link) who() string {
	if l.peer == nil || l.peer.PID == 0 { // it has not introduced itself, or has no number here
		return "the " + l.other
	}
	return fmt.Sprintf("the %s (process %d)", l.other, l.peer.PID)
}

// errReturned: the other side had owned the sockets, and has put the token back. It is ErrAborted.
var errReturned = fmt.Errorf("%w", ErrAborted)

// unexpected makes an error of a message that does not belong where it came, or that ends the attempt.
func (l *link) unexpected(m wire.Message) error {
	switch m := m.(type) {
	case *wire.Failed:
		if m.Returned {
			return fmt.Errorf("%w: %s says: %s", errReturned, l.who(), m.Reason)
		}
		return fmt.Errorf("%w: %s says: %s", ErrAborted, l.who(), m.Reason)
	case *wire.Abort:
		return fmt.Errorf("%w: %s says: %s", ErrAborted, l.who(), m.Reason)
	case *wire.Goodbye:
		return fmt.Errorf("%w: %s stops for good: %s", ErrAborted, l.who(), m.Reason)
	case *wire.Busy:
		return &BusyError{PID: m.PID, Name: m.Name, Phase: Phase(m.Phase)}
	case *wire.Refuse:
		switch m.Code {
		case wire.CodeVersion:
			return fmt.Errorf("%w: it speaks %v: %s", ErrVersion, m.Versions, beyond(ErrVersion, m.Reason))
		case wire.CodeUnauthorized:
			return fmt.Errorf("%w: %s", ErrUnauthorized, m.Reason)
		case wire.CodeTransport:
			return fmt.Errorf("%w: %s", ErrTransport, beyond(ErrTransport, m.Reason))
		case wire.CodeUnsupported:
			return fmt.Errorf("%w: %s never hands over to this process (%w): %s", ErrAborted, l.who(), errors.ErrUnsupported, m.Reason)
		default:
			return fmt.Errorf("%w: %s refused (%s): %s", ErrAborted, l.who(), m.Code, m.Reason)
		}
	default:
		return fmt.Errorf("%w: unexpected %s", ErrProtocol, m.Type())
	}
}

// beyond is what a reason says beyond the text of err, with which it may begin: here that is put before it too.
func beyond(err error, reason string) string { return strings.TrimPrefix(reason, err.Error()+": ") }

// explain makes of an end of the link what the other side said last, or [ErrPeerDied] if it has died, or is about to: the
// kernel closes its descriptors before its pidfd tells. It calls recv.
func (l *link) explain(err error) error {
	if !over(err) && !errors.Is(err, fdpass.ErrGone) || errors.Is(err, ErrPeerDied) || l.peer == nil {
		return err
	}
	for { // a send that failed has not seen what the other side had to say before
		f, ended := l.recv(context.Background(), min(l.step, exitGrace))
		if ended != nil {
			break
		}
		f.raw.Close()
		switch f.msg.(type) {
		case *wire.Failed, *wire.Abort, *wire.Goodbye, *wire.Refuse:
			return l.unexpected(f.msg)
		}
	}
	t := time.NewTimer(min(l.step, exitGrace))
	defer t.Stop()
	select {
	case <-l.peer.Done():
		return fmt.Errorf("%w: %w", ErrPeerDied, err)
	case <-t.C:
		return err
	}
}

// over reports whether err says that the other end is gone, rather than that it answers something else. What a callback
// of the program returned says nothing of that kind.
func over(err error) bool {
	if isSection(err) {
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, ErrPeerDied) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// died reports whether the process at the other end is dead, or is within d.
func (l *link) died(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-l.peer.Done():
		return true
	case <-t.C:
		return l.peer.Dead()
	}
}
