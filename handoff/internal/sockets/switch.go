package sockets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/segue-go/segue/listener"
)

// Park takes everything out of the poller, also the rendezvous, if there is one: it is somebody else's now.
func (s *Set) Park(rendezvous *Socket) error {
	all := s.All()
	if rendezvous != nil {
		all = append(all, rendezvous)
	}
	return park(all)
}

func park(all []*Socket) (errs error) {
	for _, o := range all {
		o.sole.Store(false)
	}
	for _, o := range all {
		if o.sock == nil {
			continue
		}
		if err := o.sock.Park(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = errors.Join(errs, fmt.Errorf("%s: %w", o.item.Name, err))
		}
	}
	return errs
}

// Retire closes a listener that nobody serves any more, also its path, but not its Accept: that hands out what was still in the
// queue, and then blocks until the listener is closed for good. A packet socket stays open, since answers go out through it. ctx
// bounds how long it is tried for want of descriptors.
func (o *Socket) Retire(ctx context.Context) {
	if o.closed != nil {
		o.closed(o)
	}
	l, ok := o.sock.(*listener.Listener)
	if !ok { // it is served until this generation is done, and is nobody else's any more
		o.sole.Store(true)
		return
	}
	o.unlink()
	if err := persist(ctx, l.Retire); err != nil {
		o.log.Error("closed with connections in its queue", "name", o.item.Name, "error", err)
		_ = l.Vacate()
	}
	o.retired = true
}

// persist calls f until it succeeds, for a second: descriptors may have run out for a moment.
func persist(ctx context.Context, f func() error) error {
	for try := 0; ; try++ {
		err := f()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if try == 20 {
			return err
		}
		select {
		case <-time.After(RetryAfter):
		case <-ctx.Done():
			return err
		}
	}
}

// Vacate is Retire for a listener whose queue is somebody else's: nothing in it is accepted here.
func (o *Socket) Vacate() error {
	l, ok := o.sock.(*listener.Listener)
	if !ok {
		return nil
	}
	if err := l.Vacate(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// RetryAfter is how long to wait before another try to open or close a socket.
const RetryAfter = 50 * time.Millisecond

// errAgain: the caller does not let a socket be opened now.
var errAgain = errors.New("a handover is under way")

// Reopen opens what was paused, parked or retired, and returns what is to be tried again, after RetryAfter, and why.
//
// locked calls what it gets under a lock that keeps switches from beginning, and says whether there is no successor either that is
// told of the sockets: then they may change. It does nothing if they must not be opened any more. The lock is not held while the
// program's ListenConfig binds a socket again.
func Reopen(ctx context.Context, sockets []*Socket, locked func(f func(untold bool))) (again []*Socket, errs error) {
	for _, o := range sockets {
		if o.sock == nil {
			continue
		}
		if err := o.reopen(ctx, locked); err != nil && !errors.Is(err, net.ErrClosed) {
			again, errs = append(again, o), errors.Join(errs, fmt.Errorf("%s: %w", o.item.Name, err))
		}
	}
	return again, errs
}

func (o *Socket) reopen(ctx context.Context, locked func(f func(untold bool))) error {
	err, bind := errAgain, false
	locked(func(untold bool) {
		if !o.retired || o.listen == nil {
			err = o.open()
		} else if untold {
			bind = true
		}
	})
	if !bind {
		return err
	}
	ln, err := o.listen(ctx)
	if err != nil {
		return err
	}
	taken := false
	err = errAgain
	locked(func(untold bool) {
		if !untold {
			return
		}
		if err = nil; o.retired { // otherwise somebody was quicker
			err = o.rebind(ln)
			taken = err == nil
		}
		if err == nil {
			err = o.open()
		}
	})
	if !taken {
		_ = ln.Close()
	} else if o.opened != nil {
		o.opened(o)
	}
	return err
}

func (o *Socket) open() error {
	if o.renew != nil {
		if err := o.renew(); err != nil {
			return err
		}
	}
	return o.sock.Open()
}

// rebind undoes Retire: it takes ln, which is bound to the same address.
func (o *Socket) rebind(ln net.Listener) error {
	path := boundPath(ln.Addr())
	l := o.sock.(*listener.Listener)
	if err := l.Reset(ln, (*listener.UnixPath)(path)); err != nil {
		return err
	}
	l.SetUnlinkOnClose(o.item.UnlinkOnClose)
	o.item.Unlink, o.item.Bound, o.retired = path, true, false
	o.noteBacklog()
	return nil
}
