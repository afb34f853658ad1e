package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// Keeper has the rendezvous of one process, and keeps it where callers look for it. Its methods may be called concurrently, but
// for Adopt and Open. Its mutex is held for short, and nothing is called meanwhile. The fields are set before the first use.
type Keeper struct {
	Path   Path            // empty: there is none
	Step   time.Duration   // bounds the wait for the lock
	Life   context.Context // ends with the process
	Log    *slog.Logger
	Mine   func() bool // whether the rendezvous is this process's to keep: it owns the sockets
	Accept func(*listener.Listener)

	mu     sync.Mutex
	socket *sockets.Socket
	left   bool
}

// Socket is the rendezvous; nil if there is none.
func (k *Keeper) Socket() *sockets.Socket {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.socket
}

// Bind makes this process the first on its path, of which it holds the lock.
func (k *Keeper) Bind() error {
	fd, err := k.Path.Bind()
	if err != nil {
		return err
	}
	return k.take(fd, wire.Item{Name: string(k.Path), Kind: wire.KindRendezvous, UnlinkOnClose: true}, -1)
}

// Adopt takes fd, which came from the predecessor, at that place of its offer.
func (k *Keeper) Adopt(fd *listener.FD, info listener.Info, item wire.Item, place int) error {
	if k.Socket() != nil || k.Path == "" {
		_ = fd.Close()
		return fmt.Errorf("%w: a rendezvous that nobody expects", wire.ErrProtocol)
	}
	if !info.Listening || info.Network != "unixpacket" {
		_ = fd.Close()
		return fmt.Errorf("%w: the rendezvous is no SOCK_SEQPACKET Unix socket that listens", wire.ErrProtocol)
	}
	return k.take(fd, item, place)
}

// take takes fd. If this process has left meanwhile, it is closed, and there is none.
func (k *Keeper) take(fd *listener.FD, item wire.Item, place int) error {
	r, err := sockets.Rendezvous(k.Log, fd, item, place, Vouch)
	if err != nil {
		return err
	}
	k.mu.Lock()
	left := k.left
	if !left {
		k.socket = r
	}
	k.mu.Unlock()
	if left {
		_ = r.CloseAs(true)
	}
	return nil
}

// Vouch has the kernel say that this process is the one that listens there.
func (k *Keeper) Vouch() error {
	if r := k.Socket(); r != nil {
		return Vouch(r.Pausable())
	}
	return nil
}

// Arm makes it ready to be opened. What fails is said by Open.
func (k *Keeper) Arm() {
	if r := k.Socket(); r != nil {
		_ = r.Pausable().Arm()
	}
}

// Open begins to accept callers.
func (k *Keeper) Open() error {
	r := k.Socket()
	if r == nil {
		return nil
	}
	if err := Vouch(r.Pausable()); err != nil {
		return err
	}
	if err := r.Pausable().Open(); err != nil {
		return err
	}
	k.Accept(r.Pausable().(*listener.Listener))
	return nil
}

// CloseCopy closes what somebody else owns.
func (k *Keeper) CloseCopy() {
	if r := k.Socket(); r != nil {
		_ = r.CloseAs(false)
	}
}

// Leave gives the rendezvous up. owner: it is this process's, and nobody else's, so that it is removed.
func (k *Keeper) Leave(owner bool) {
	k.mu.Lock()
	r := k.socket
	k.socket, k.left = nil, true
	k.mu.Unlock()
	if r == nil {
		return
	}
	if !owner && !r.Sole() {
		_ = r.CloseAs(false)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), k.Step)
	defer cancel()
	err := k.Path.WithLock(ctx, func() error {
		_ = r.CloseAs(true)
		k.Path.Leave()
		return nil
	})
	if err != nil {
		_ = r.CloseAs(false)
		k.Log.Warn("the rendezvous was left behind; the next start replaces it", "path", string(k.Path), "error", err)
	}
}

// Keep looks whether the rendezvous is still where callers look for it, and binds it again if it is not: cleaners of temporary
// files remove it, or its lock, and a directory may be removed and made again. Who starts the program then would take itself for
// the first, and find its addresses in use.
//
// What goes wrong is only logged: Upgrade works without a path. But nothing is if the path is taken, and unlessTaken is true:
// then Keep reports that, for it to be called again.
func (k *Keeper) Keep(unlessTaken bool) (taken bool) {
	bound, err := k.bindIfGone()
	if unlessTaken && errors.Is(err, ErrTaken) {
		return true
	}
	switch {
	case err != nil && k.Life.Err() == nil:
		k.Log.Warn("the rendezvous was removed and cannot be bound again; only a signal or Upgrade starts a successor", "path", string(k.Path), "error", err)
	case bound:
		k.Log.Warn("the rendezvous was removed; it is bound again", "path", string(k.Path))
	}
	return false
}

func (k *Keeper) bindIfGone() (bound bool, err error) {
	if k.inPlace() {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(k.Life, k.Step)
	defer cancel()
	err = k.Path.WithLock(ctx, func() (err error) { // which makes the lock file again, too
		if !k.inPlace() {
			bound, err = k.bindAgain()
		}
		return err
	})
	return bound && err == nil, err
}

// inPlace reports whether there is nothing to do: the path and its lock are there, or are not this process's to keep.
func (k *Keeper) inPlace() bool {
	if k.Path == "" || !k.Mine() {
		return true
	}
	r := k.Socket()
	return r != nil && k.Path.InPlace((*listener.UnixPath)(r.File()))
}

// bindAgain binds the rendezvous anew; the caller holds its lock. A socket there is removed only if nobody listens on it. A
// caller that has connected to the old one and was not accepted yet calls again.
func (k *Keeper) bindAgain() (bool, error) {
	old := k.Socket()
	if err := k.Bind(); err != nil {
		return false, err
	}
	if old != nil {
		_ = old.CloseAs(false)
	}
	return k.Socket() != nil, k.Open()
}
