package link

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/wire"
)

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
	grace := min(l.Step, peer.ExitGrace)
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
