package handoff

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// pullable reports whether both sides want the successor to take its descriptors itself, and fails if one of them wants
// nothing else. this and other are the roles of who asks, and of the process at the other end.
func (t Transport) pullable(agreed []string, this, other string) (bool, error) {
	pull := slices.Contains(agreed, featurePull)
	if t == TransportPidfd && !pull {
		return false, fmt.Errorf("%w: the %s does not take part in pidfd; set its Config.Transport, or the %s's, to automatic",
			ErrTransport, other, this)
	}
	return pull, nil
}

// errShort: there is no room to expose descriptors, and sending needs none.
var errShort = errors.New("the incumbent has no room for copies of the descriptors; raise its RLIMIT_NOFILE (ulimit -n, LimitNOFILE=)")

// ptracer is held by the generation that has set PR_SET_PTRACER. A process has one, so that two generations would take each
// other's away: like pathlessJoined, it is kept per process because the kernel does.
var ptracer = make(chan struct{}, 1)

// allowPull lets p, and nobody else, take descriptors of this process while Yama's ptrace_scope is 1 (PR_SET_PTRACER,
// prctl(2)), and returns the function that withdraws it, which may be called more than once. Without Yama there is nothing
// to allow. While another generation of this process allows its own peer, it waits, but not for ever: without, the peer is
// refused under Yama, and nowhere else.
func allowPull(ctx context.Context, p *peer.Peer, patience time.Duration) (withdraw func()) {
	nothing := func() {}
	if p.PID == 0 || p.Self() {
		return nothing
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case ptracer <- struct{}{}:
	case <-t.C:
		return nothing
	case <-ctx.Done():
		return nothing
	}
	if unix.Prctl(unix.PR_SET_PTRACER, uintptr(p.PID), 0, 0, 0) != nil {
		<-ptracer
		return nothing
	}
	withdraw = sync.OnceFunc(func() {
		_ = unix.Prctl(unix.PR_SET_PTRACER, 0, 0, 0, 0)
		<-ptracer
	})
	if p.Dead() { // its number may have been another's by then; as long as it lives, it is its own
		withdraw()
	}
	return withdraw
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
// must not, they are sent after all, pull is cleared, and withdraw called.
func (a *attempt) sendBatch(ctx context.Context, o *wire.Offer, fds []syscall.Conn, pull *bool, withdraw func()) error {
	if *pull {
		refused, err := a.pullBatch(ctx, o, fds)
		switch automatic := a.g.cfg.Transport != TransportPidfd; {
		case errors.Is(err, errShort) && automatic:
			a.g.log.Warn("this process has no descriptors free to let the successor take its own; they are sent", "error", err)
		case err != nil || refused == "":
			return err
		case !automatic:
			return fmt.Errorf("%w: %s; or set Config.Transport to automatic", ErrTransport, refused)
		default:
			a.g.log.Info("the successor must not take descriptors itself; they are sent", "reason", refused)
		}
		*pull = false
		withdraw()
	}
	taken, err := a.offerBatch(ctx, plain(o), fds...)
	if err == nil && taken.Refused != "" {
		err = fmt.Errorf("%w: it refuses what was sent: %s", ErrProtocol, taken.Refused)
	}
	return err
}

// pullBatch lets the successor take a batch itself, and says why not if that cannot be.
func (a *attempt) pullBatch(ctx context.Context, o *wire.Offer, fds []syscall.Conn) (refused string, err error) {
	items, done, err := expose(o.Items, fds)
	if outOfDescriptors(err) {
		return "", fmt.Errorf("offer: %w: %w", errShort, err)
	}
	if err != nil {
		return "", err
	}
	defer done()
	taken, err := a.offerBatch(ctx, &wire.Offer{Batch: o.Batch, Last: o.Last, Items: items})
	if err != nil {
		return "", err
	}
	return taken.Refused, nil
}

func (a *attempt) offerBatch(ctx context.Context, o *wire.Offer, fds ...syscall.Conn) (*wire.Taken, error) {
	if err := a.link.send(o, fds...); err != nil {
		return nil, err
	}
	taken, err := expect[*wire.Taken](ctx, a.link, a.g.cfg.StepTimeout)
	if err != nil {
		return nil, fmt.Errorf("offer: %w", err)
	}
	if taken.Batch != o.Batch {
		return nil, fmt.Errorf("%w: TAKEN %d for OFFER %d", ErrProtocol, taken.Batch, o.Batch)
	}
	return taken, nil
}

// pull takes what items name out of the incumbent, and makes sure that it is that.
func (p *predecessor) pull(items []wire.Item) ([]*listener.FD, error) {
	process, err := p.link.peer.Process()
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
		!outOfDescriptors(err)
}
