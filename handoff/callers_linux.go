package handoff

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

const (
	// maxCallers is how many are attended to at the rendezvous at once.
	maxCallers = 128
	// acceptPause is how long to wait after an accept(2) that failed.
	acceptPause = 100 * time.Millisecond
)

// errEvicted is why somebody is turned away who has said nothing while others wait.
var errEvicted = errors.New("it was silent while others waited")

// acceptSuccessors answers those who call at the rendezvous, until it is closed. While this generation does not own,
// Accept blocks, and callers wait in the queue for the one that does.
//
// Nobody can keep it from answering: who finds it silent may take it for dead, and kill it (Config.Rescue).
func (g *Generation) acceptSuccessors(r *sockets.Socket) {
	ln := r.Pausable().(*listener.Listener)
	defer context.AfterFunc(g.ctx, func() { _ = ln.SetDeadline(time.Now()) })()
	callers := callers{slots: make(chan struct{}, maxCallers)}
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) || g.ctx.Err() != nil {
			if c != nil {
				_ = c.Close()
			}
			return
		}
		if spares.OutOfDescriptors(err) {
			why := err
			if c, err = g.acceptBySpares(ln); spares.OutOfDescriptors(err) && g.turnAway(ln, why) {
				continue
			}
		} else if err != nil {
			g.log.Error("accept at the rendezvous", "error", err)
		}
		if c == nil { // without descriptors accept(2) fails also when nobody calls
			pause(g.ctx, acceptPause)
			g.fillSpares()
			continue
		}
		who := callers.enter(g.ctx)
		if who == nil {
			_ = c.Close()
			return
		}
		g.task(func() {
			defer callers.leave(who)
			g.receive(who.ctx, c.(*net.UnixConn), func() { callers.spoke(who) })
		})
	}
}

// acceptBySpares accepts a caller, if there is one, by means of the spares. Those that a handover takes are kept from it.
func (g *Generation) acceptBySpares(ln syscall.Conn) (c net.Conn, err error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, err
	}
	err = g.spares.Do(2, spares.Caller, func() error {
		if spares.Lacking(2) {
			return unix.EMFILE // rather than to hang up on somebody for want of the second
		}
		var fd *listener.FD
		var inner error
		err := raw.Control(func(n uintptr) {
			if !called(n) {
				return
			}
			var conn int
			if conn, _, inner = unix.Accept4(int(n), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK); inner == nil {
				fd = listener.NewFD(conn)
			}
		})
		if err = errors.Join(err, inner); err != nil || fd == nil {
			return err
		}
		u, err := sys.UnixConn(fd)
		if err == nil {
			c = u
		}
		return err
	})
	return c, err
}

// called reports whether somebody waits in the queue of n.
func called(n uintptr) bool {
	ready, err := unix.Poll([]unix.PollFd{{Fd: int32(n), Events: unix.POLLIN}}, 0)
	return ready > 0 && err == nil
}

// turnAway answers a caller for whom there is no descriptor, if there is one: it gets the last of the spares. What is left of
// the connection is a spare from then on. Closed and opened anew, its number would go to whoever else waits for one.
func (g *Generation) turnAway(ln syscall.Conn, why error) (answered bool) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return false
	}
	answer, err := wire.Encode(refusal(why))
	if err != nil {
		return false
	}
	_ = raw.Control(func(n uintptr) {
		if !called(n) {
			return
		}
		g.spares.Last(func() *listener.FD {
			c, _, err := unix.Accept4(int(n), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			if err != nil {
				return nil
			}
			answered = true
			_ = unix.Send(c, answer, unix.MSG_NOSIGNAL)
			_ = unix.Shutdown(c, unix.SHUT_RDWR)
			return listener.NewFD(c)
		})
	})
	if answered {
		g.log.Warn("a caller was turned away", "error", why)
	}
	return answered
}

// callers are those at the rendezvous who are attended to.
type callers struct {
	slots chan struct{}

	mu     sync.Mutex
	silent []*caller // who have not spoken, in the order in which they came
}

// caller is one of them. Its context ends when it is evicted.
type caller struct {
	ctx   context.Context
	evict context.CancelCauseFunc
}

// enter waits for a slot; if there is none, who has been silent for the longest time has to go. It returns nil if ctx ends.
func (c *callers) enter(ctx context.Context) *caller {
	select {
	case c.slots <- struct{}{}:
	default:
		c.mu.Lock()
		if len(c.silent) > 0 {
			c.silent[0].evict(errEvicted)
			c.silent = slices.Delete(c.silent, 0, 1)
		}
		c.mu.Unlock()
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
	}
	who := &caller{}
	who.ctx, who.evict = context.WithCancelCause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = append(c.silent, who)
	return who
}

// spoke keeps who from being evicted.
func (c *callers) spoke(who *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = slices.DeleteFunc(c.silent, func(other *caller) bool { return other == who })
}

// leave gives the slot back.
func (c *callers) leave(who *caller) {
	c.spoke(who)
	who.evict(nil)
	<-c.slots
}
