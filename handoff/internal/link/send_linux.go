package link

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/wire"
)

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
