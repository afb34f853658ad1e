package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

const (
	// maxCallers is how many are attended to at the rendezvous at once.
	maxCallers = 128
	// acceptPause is how long to wait after an accept(2) that failed.
	acceptPause = 100 * time.Millisecond
)

// errEvicted is why somebody is turned away who has said nothing while others wait.
var errEvicted = errors.New("it was silent while others waited")

// Acceptor answers those that call at the rendezvous.
type Acceptor struct {
	Listener *listener.Listener
	Spares   *spares.Pool // with them a caller is accepted if there are no other descriptors
	Fill     func()       // fills Spares again
	Log      *slog.Logger
	// Task runs f in a goroutine of its own.
	Task func(f func())
	// Receive serves a caller. It takes conn. ctx is for as long as the caller is silent; spoke is called when it is not any
	// more.
	Receive func(ctx context.Context, conn *net.UnixConn, spoke func())
}

// Run accepts until the listener is closed, or ctx ends. While this generation does not own, Accept blocks, and callers wait in
// the queue for the one that does.
//
// Nobody can keep it from answering: a caller that finds it silent may take it for dead, and kill it (Config.Rescue).
func (a *Acceptor) Run(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { _ = a.Listener.SetDeadline(time.Now()) })()
	callers := callers{slots: make(chan struct{}, maxCallers)}
	for {
		c, err := a.Listener.Accept()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return
		}
		accepted := err == nil
		if spares.OutOfDescriptors(err) {
			why := err
			if c, accepted, err = a.acceptBySpares(); spares.OutOfDescriptors(err) && a.turnAway(why) {
				continue
			}
		} else if err != nil {
			a.Log.Error("accept at the rendezvous", "error", err)
		}
		if !accepted { // without descriptors accept(2) fails also when nobody calls
			sleep(ctx, acceptPause)
			a.Fill()
			continue
		}
		who, entered := callers.enter(ctx)
		if !entered {
			_ = c.Close()
			return
		}
		a.Task(func() {
			defer callers.leave(who)
			a.Receive(who.ctx, c.(*net.UnixConn), func() { callers.spoke(who) })
		})
	}
}

// acceptBySpares accepts a caller by means of the spares, and reports whether there was one. It leaves alone the spares that a
// handover takes.
func (a *Acceptor) acceptBySpares() (c net.Conn, accepted bool, err error) {
	raw, err := a.Listener.SyscallConn()
	if err != nil {
		return nil, false, err
	}
	err = a.Spares.Do(2, spares.Caller, func() error {
		if spares.Lacking(2) {
			return unix.EMFILE // rather than to hang up on somebody for want of the second
		}
		calls, conn := false, 0
		var inner error
		err := raw.Control(func(n uintptr) {
			if calls = waits(n); calls {
				conn, _, inner = unix.Accept4(int(n), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			}
		})
		if err = errors.Join(err, inner); err != nil || !calls {
			return err
		}
		c, err = sys.UnixConn(listener.NewFD(conn))
		accepted = err == nil
		return err
	})
	return c, accepted, err
}

// waits reports whether somebody waits in the queue of n.
func waits(n uintptr) bool {
	ready, err := unix.Poll([]unix.PollFd{{Fd: int32(n), Events: unix.POLLIN}}, 0)
	return ready > 0 && err == nil
}

// turnAway answers a caller for whom there is no descriptor, if there is one: it gets the last of the spares. What is left of
// the connection is a spare from then on. Closed and opened anew, its number would go to whoever else waits for one.
func (a *Acceptor) turnAway(why error) (answered bool) {
	raw, err := a.Listener.SyscallConn()
	if err != nil {
		return false
	}
	answer, err := wire.Encode(NoDescriptors(why))
	if err != nil {
		return false
	}
	_ = raw.Control(func(n uintptr) {
		if !waits(n) {
			return
		}
		a.Spares.Last(func() *listener.FD {
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
		a.Log.Warn("a caller was turned away", "error", why)
	}
	return answered
}

// NoDescriptors answers a caller for whom there is no descriptor.
func NoDescriptors(why error) *wire.Refuse {
	return &wire.Refuse{Code: wire.CodeDescriptors, Reason: fmt.Sprintf("the incumbent, process %d, has none left for a handover; raise its RLIMIT_NOFILE, or wait: %v", os.Getpid(), why)}
}

// callers are those at the rendezvous that are attended to.
type callers struct {
	slots chan struct{}

	mu     sync.Mutex
	silent []*caller // those that have not spoken, in the order in which they came
}

// caller is one of them. Its context ends when it is evicted.
type caller struct {
	ctx   context.Context
	evict context.CancelCauseFunc
}

// enter waits for a slot; if there is none, the caller that has been silent for the longest time has to go. It reports
// false if ctx ends.
func (c *callers) enter(ctx context.Context) (who *caller, entered bool) {
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
			return nil, false
		}
	}
	who = &caller{}
	who.ctx, who.evict = context.WithCancelCause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = append(c.silent, who)
	return who, true
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
