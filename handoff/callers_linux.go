package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

// maxCallers are served at the rendezvous at once.
const maxCallers = 128

// errCrowded turns the oldest caller that has not spoken away: an incumbent that does not answer for their sake would be
// taken for a hung one.
var errCrowded = fmt.Errorf("%d others have called since, and this one says nothing", maxCallers)

// errExhausted is what a caller is told for whom there is no descriptor.
var errExhausted = errors.New("the incumbent serves, but has no file descriptor free to hand over; raise its RLIMIT_NOFILE (ulimit -n, LimitNOFILE=), or try again")

// callers are those at the rendezvous.
type callers struct {
	slots chan struct{}

	mu     sync.Mutex
	silent []*caller // who have not spoken yet, the oldest first
}

type caller struct{ dismiss context.CancelCauseFunc }

func newCallers() *callers { return &callers{slots: make(chan struct{}, maxCallers)} }

// enter takes a slot for a caller, for which it dismisses the one that has been silent for longest if there is none. It
// returns a context for the time until the caller speaks, and a function to say that it has, or hung up; false if ctx ended.
func (cs *callers) enter(ctx context.Context) (until context.Context, spoke func(), ok bool) {
	select {
	case cs.slots <- struct{}{}:
	default:
		cs.mu.Lock()
		if len(cs.silent) > 0 {
			cs.silent[0].dismiss(errCrowded) // unless it has spoken by now: what is queued is received first
			cs.silent = cs.silent[1:]
		}
		cs.mu.Unlock()
		select {
		case cs.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, nil, false
		}
	}
	until, dismiss := context.WithCancelCause(ctx)
	c := &caller{dismiss}
	cs.mu.Lock()
	cs.silent = append(cs.silent, c)
	cs.mu.Unlock()
	return until, func() {
		cs.mu.Lock()
		cs.silent = slices.DeleteFunc(cs.silent, func(other *caller) bool { return other == c })
		cs.mu.Unlock()
		dismiss(nil)
	}, true
}

func (cs *callers) leave() { <-cs.slots }

// acceptSuccessors answers those who call at the rendezvous, until it is closed. While this generation does not own,
// Accept blocks, and callers wait in the queue for the one that does. It takes the spare descriptor.
func (g *Generation) acceptSuccessors(r *resource, spare *spare) {
	cs := newCallers()
	ln := r.sock.(*listener.Listener)
	defer context.AfterFunc(g.ctx, func() { _ = ln.SetDeadline(time.Now()) })()
	defer spare.close()
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) || g.ctx.Err() != nil {
			if c != nil {
				_ = c.Close()
			}
			return
		}
		if err != nil {
			if exhausted(err) {
				err = spare.answer(ln)
			}
			if err != nil {
				g.log.Error("accept at the rendezvous", "error", err)
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-g.ctx.Done():
				return
			}
			continue
		}
		spare.renew()
		until, spoke, ok := cs.enter(g.ctx)
		if !ok {
			_ = c.Close()
			return
		}
		g.task(func() {
			defer cs.leave()
			g.receive(until, c.(*net.UnixConn), spoke)
		})
	}
}

// spare is a descriptor for the time in which there is no other. Without, an incumbent that has used up its own would not
// answer, though it serves, and be taken for a hung one.
type spare struct {
	fd   *listener.FD
	lent bool // fd is a connection that was answered, and nobody needs it any more
}

// renew makes one that is not lent, if it can.
func (s *spare) renew() {
	if s.fd != nil && !s.lent {
		return
	}
	n, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return // there will be another occasion
	}
	s.close()
	*s = spare{fd: listener.NewFD(n)}
}

func (s *spare) close() {
	_ = s.fd.Close()
	s.fd = nil
}

// answer accepts one caller in place of the spare descriptor, if there is one: without room for a descriptor, accept(2)
// fails before it has looked. It tells the caller why it is not received. The connection then is the spare descriptor:
// closed, it would be reset before the caller has said its word.
func (s *spare) answer(ln syscall.Conn) error {
	raw, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	m, err := wire.Encode(&wire.Refuse{Code: wire.CodeExhausted, Reason: errExhausted.Error()})
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(n uintptr) {
		fds := []unix.PollFd{{Fd: int32(n), Events: unix.POLLIN}}
		if ready, _ := unix.Poll(fds, 0); ready == 0 {
			return
		}
		s.renew()
		s.close()
		var c int
		if c, _, inner = unix.Accept4(int(n), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK); inner != nil {
			return // it hung up, or somebody else was quicker to take the descriptor
		}
		*s = spare{fd: listener.NewFD(c), lent: true}
		inner = errExhausted    // for the log
		_, _ = unix.Write(c, m) // it may have hung up
	})
	return errors.Join(err, inner)
}

func exhausted(err error) bool { return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) }
