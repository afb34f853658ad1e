package handoff

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// pullable reports whether both sides want the successor to take its descriptors itself, and fails if one of them wants
// nothing else. other is at the other end.
func (t Transport) pullable(agreed []string, other *link.Link) (bool, error) {
	pull := slices.Contains(agreed, featurePull)
	if t == TransportPidfd && !pull {
		return false, fmt.Errorf("%w: %s does not take part in pidfd; set its Config.Transport to automatic, "+
			"or that of process %d, which insists on it", ErrTransport, other.Who(), os.Getpid())
	}
	return pull, nil
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

// reserve makes items as long as expose makes them at most, so that a manifest is split into frames that are not too long.
func reserve(items []wire.Item) {
	for i := range items {
		items[i].Descriptor, items[i].Cookie, items[i].Dev, items[i].Ino = math.MaxInt32, math.MaxUint64, math.MaxUint64, math.MaxUint64
	}
}

// plain undoes reserve.
func plain(o *wire.Offer) *wire.Offer {
	items := slices.Clone(o.Items)
	for i := range items {
		items[i].Descriptor, items[i].Cookie, items[i].Dev, items[i].Ino = 0, 0, 0, 0
	}
	return &wire.Offer{Batch: o.Batch, Last: o.Last, Items: items}
}

// sendBatch sends one OFFER and waits for TAKEN. If pull is set, the successor is to take the descriptors itself; if it
// must not, they are sent after all, and pull is cleared.
func (a *attempt) sendBatch(ctx context.Context, o *wire.Offer, fds []syscall.Conn, pull *bool) error {
	if *pull {
		refused, err := a.pullBatch(ctx, o, fds)
		unable := errors.Is(err, errNotAllowed) || errors.Is(err, errNoCopies)
		switch {
		case err != nil && !unable, err == nil && refused == "":
			return err
		case unable && a.g.cfg.Transport == TransportPidfd:
			return fmt.Errorf("%w: %w; or set Config.Transport to automatic", ErrTransport, err)
		case unable:
			a.g.log.Warn("this process cannot let its successor take descriptors; they are sent", "error", err)
		case a.g.cfg.Transport == TransportPidfd:
			return fmt.Errorf("%w: %s; or set Config.Transport to automatic", ErrTransport, refused)
		default:
			a.g.log.Info("the successor must not take descriptors itself; they are sent", "reason", refused)
		}
		*pull = false
	}
	taken, err := a.offerBatch(ctx, plain(o), fds...)
	if err == nil && taken.Refused != "" {
		err = fmt.Errorf("%w: it refuses what was sent: %s", ErrProtocol, taken.Refused)
	}
	return err
}

// errNoCopies: this process has no room for copies of what it offers. To send it needs none.
var errNoCopies = errors.New("the incumbent has no room for the copies that its successor would take; " +
	"raise its RLIMIT_NOFILE (ulimit -n, LimitNOFILE=)")

// pullBatch lets the successor take a batch itself, and returns what it says if it must not. An error that is
// errNotAllowed or errNoCopies means that this process could not let it.
func (a *attempt) pullBatch(ctx context.Context, o *wire.Offer, fds []syscall.Conn) (refused string, err error) {
	var items []wire.Item
	var done func()
	err = a.g.spares.Do(len(fds), 1, func() (err error) {
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
	withdraw, err := thisPtracer.allow(ctx, a.link.Peer, a.g.cfg.StepTimeout/2)
	if err != nil {
		return "", err
	}
	defer withdraw()
	taken, err := a.offerBatch(ctx, &wire.Offer{Batch: o.Batch, Last: o.Last, Items: items})
	if err != nil {
		return "", err
	}
	return taken.Refused, nil
}

func (a *attempt) offerBatch(ctx context.Context, o *wire.Offer, fds ...syscall.Conn) (*wire.Taken, error) {
	if err := a.link.Send(o, fds...); err != nil {
		return nil, err
	}
	a.owe(time.Now())
	taken, err := link.Expect[*wire.Taken](ctx, a.link, a.g.cfg.StepTimeout)
	if err != nil {
		return nil, fmt.Errorf("offer: %w", err)
	}
	a.owe(time.Time{})
	if taken.Batch != o.Batch {
		return nil, fmt.Errorf("%w: TAKEN %d for OFFER %d", ErrProtocol, taken.Batch, o.Batch)
	}
	return taken, nil
}

// pull takes what items name out of the incumbent, and makes sure that it is that.
func (p *predecessor) pull(items []wire.Item) ([]*listener.FD, error) {
	process, err := p.link.Peer.Process()
	if err != nil {
		return nil, err
	}
	defer func() { _ = process.Close() }()
	numbers := make([]int, len(items))
	for i, item := range items {
		numbers[i] = item.Descriptor
	}
	fds, err := process.GetAll(numbers)
	if err != nil {
		return nil, err
	}
	for i, fd := range fds {
		info, err := listener.Describe(fd)
		if err == nil && (info.Cookie != items[i].Cookie || info.Dev != items[i].Dev || info.Ino != items[i].Ino) {
			err = fmt.Errorf("%w: descriptor %d of the incumbent is not %s", ErrProtocol, items[i].Descriptor, items[i].Name)
		}
		if err != nil {
			(&fdpass.Message{FDs: fds}).Close()
			return nil, err
		}
	}
	return fds, nil
}

// refusable reports whether err, of pull, leaves the other transport to try.
func refusable(err error) bool {
	return !errors.Is(err, ErrProtocol) && !errors.Is(err, fdpass.ErrGone) && !errors.Is(err, net.ErrClosed) &&
		!spares.OutOfDescriptors(err)
}
