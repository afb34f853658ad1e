package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/handoff/internal/token"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// Sender is the incumbent's side.
type Sender struct {
	Link   *link.Link
	Spares *spares.Pool
	Log    *slog.Logger
	Pull   bool                  // the successor is to take the descriptors itself, as [Agreed]
	Only   bool                  // there is no other way
	Owe    func(since time.Time) // called when the successor owes an answer, and with the zero time when it does not any more
}

// Welcome sends m and the token. If this user has too many descriptors in flight, in whatever process, the successor is to
// take the token itself; one that does not know how has to wait.
func (s *Sender) Welcome(ctx context.Context, m *wire.Welcome, t token.Token) error {
	if !slices.Contains(m.Features, FeatureToken) {
		return s.Link.Send(m, t)
	}
	err := s.Link.SendNow(m, t)
	if !errors.Is(err, syscall.ETOOMANYREFS) {
		return err
	}
	if s.Link.Peer.Doubtful() { // nobody in doubt is let take
		return s.Link.Send(m, t)
	}
	s.Log.Warn("the token cannot be sent; the successor takes it", "error", err)
	var held *listener.FD // whose number is 3 at least
	err = s.Spares.Do(1, 1, func() (err error) {
		held, err = t.Dup()
		return err
	})
	if err != nil {
		return err
	}
	defer held.Close()
	if err := sys.Control(held, func(n int) error { m.Descriptor = n; return nil }); err != nil {
		return err
	}
	withdraw, err := thisPtracer.allow(ctx, s.Link.Peer, s.Link.Step/2)
	if err != nil {
		return err
	}
	defer withdraw()
	defer s.Owe(time.Time{})
	if err := s.demand(func() error { return s.Link.SendNow(m) }); err != nil {
		return err
	}
	if _, err := link.Expect[*wire.Taken](ctx, s.Link, s.Link.Step); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	return nil
}

// Prove has the successor say something, before it is given anything, if it is in doubt who that is: an OFFER of nothing, which
// it answers. offers are renumbered then. See [peer.Candidate].
func (s *Sender) Prove(ctx context.Context, offers []*wire.Offer) error {
	if !s.Link.Peer.Doubtful() {
		return nil
	}
	if _, err := s.offer(ctx, &wire.Offer{}); err != nil {
		return err
	}
	switch {
	case !s.Link.Peer.Doubtful():
	case s.Link.Peer.Dead():
		return peer.ErrDied
	default:
		return fmt.Errorf("%w: it cannot be known whether process %d is the successor: what it sent was no answer, or came from another process",
			wire.ErrProtocol, s.Link.Peer.PID)
	}
	for _, o := range offers {
		o.Batch++
	}
	return s.Link.Introduced()
}

// Offer sends one OFFER and waits for TAKEN. If s.Pull is set, the successor is to take the descriptors itself; if it
// must not, they are sent after all, and s.Pull is cleared.
func (s *Sender) Offer(ctx context.Context, o *wire.Offer, fds []syscall.Conn) error {
	if s.Pull {
		refused, err := s.offerToTake(ctx, o, fds)
		unable := errors.Is(err, errNotAllowed) || errors.Is(err, errNoCopies)
		switch {
		case err != nil && !unable, err == nil && refused == "":
			return err
		case unable && s.Only:
			return fmt.Errorf("%w: %w; or set Config.Transport to automatic", link.ErrTransport, err)
		case unable:
			s.Log.Warn("this process cannot let its successor take descriptors; they are sent", "error", err)
		case s.Only:
			return fmt.Errorf("%w: %s; or set Config.Transport to automatic", link.ErrTransport, refused)
		default:
			s.Log.Info("the successor must not take descriptors itself; they are sent", "reason", refused)
		}
		s.Pull = false
	}
	taken, err := s.offer(ctx, plain(o), fds...)
	if err == nil && taken.Refused != "" {
		err = fmt.Errorf("%w: it refuses what was sent: %s", wire.ErrProtocol, taken.Refused)
	}
	return err
}

// expose names the descriptors of one batch by their numbers in this process, and says what each is. They are copies, so
// that a number means the same until the batch was taken, whatever the program closes meanwhile.
func expose(items []wire.Item, fds []syscall.Conn) ([]wire.Item, func(), error) {
	held := make([]*listener.FD, 0, len(fds))
	closeHeld := func() {
		for _, fd := range held {
			_ = fd.Close()
		}
	}
	exposed := slices.Clone(items)
	for i, c := range fds {
		fd, err := listener.Dup(c)
		if err != nil {
			closeHeld()
			return nil, nil, err
		}
		held = append(held, fd)
		info, err := listener.Describe(fd)
		if err == nil {
			err = fd.Control(func(n uintptr) { exposed[i].Descriptor = int(n) })
		}
		if err != nil {
			closeHeld()
			return nil, nil, err
		}
		exposed[i].Cookie, exposed[i].Dev, exposed[i].Ino = info.Cookie, info.Dev, info.Ino
	}
	return exposed, closeHeld, nil
}

// Reserve makes items as long as expose makes them at most, so that a manifest is split into frames that are not too long.
func Reserve(items []wire.Item) {
	for i := range items {
		items[i].Descriptor, items[i].Cookie, items[i].Dev, items[i].Ino = math.MaxInt32, math.MaxUint64, math.MaxUint64, math.MaxUint64
	}
}

// plain undoes Reserve.
func plain(o *wire.Offer) *wire.Offer {
	items := slices.Clone(o.Items)
	for i := range items {
		items[i].Descriptor, items[i].Cookie, items[i].Dev, items[i].Ino = 0, 0, 0, 0
	}
	return &wire.Offer{Batch: o.Batch, Last: o.Last, Items: items}
}

// errNoCopies: this process has no room for copies of what it offers. To send it needs none.
var errNoCopies = errors.New("the incumbent has no room for the copies that its successor would take; " +
	"raise its RLIMIT_NOFILE (ulimit -n, LimitNOFILE=)")

// offerToTake lets the successor take a batch itself, and returns what it says if it must not. An error that is
// errNotAllowed or errNoCopies means that this process could not let it.
func (s *Sender) offerToTake(ctx context.Context, o *wire.Offer, fds []syscall.Conn) (refused string, err error) {
	var items []wire.Item
	var done func()
	err = s.Spares.Do(len(fds), 1, func() (err error) {
		items, done, err = expose(o.Items, fds)
		return err
	})
	if spares.OutOfDescriptors(err) {
		return "", fmt.Errorf("%w: %w", errNoCopies, err)
	}
	if err != nil {
		return "", err
	}
	defer done()
	// The successor, which waits for this OFFER, has as much patience as this side for the turn and the answer.
	withdraw, err := thisPtracer.allow(ctx, s.Link.Peer, s.Link.Step/2)
	if err != nil {
		return "", err
	}
	defer withdraw()
	taken, err := s.offer(ctx, &wire.Offer{Batch: o.Batch, Last: o.Last, Items: items})
	if err != nil {
		return "", err
	}
	return taken.Refused, nil
}

func (s *Sender) offer(ctx context.Context, o *wire.Offer, fds ...syscall.Conn) (*wire.Taken, error) {
	if err := s.demand(func() error { return s.Link.Send(o, fds...) }); err != nil {
		return nil, err
	}
	taken, err := link.Expect[*wire.Taken](ctx, s.Link, s.Link.Step)
	if err != nil {
		return nil, fmt.Errorf("offer: %w", err)
	}
	s.Owe(time.Time{})
	if taken.Batch != o.Batch {
		return nil, fmt.Errorf("%w: TAKEN %d for OFFER %d", wire.ErrProtocol, taken.Batch, o.Batch)
	}
	return taken, nil
}

// demand sends something to which the successor owes an answer from the moment at which it has it. So it is said before, and
// its time runs from the end of send at the latest: a send that blocks ends by its own deadline.
func (s *Sender) demand(send func() error) error {
	s.Owe(time.Now().Add(2 * s.Link.Step))
	if err := send(); err != nil {
		return err
	}
	s.Owe(time.Now())
	return nil
}
