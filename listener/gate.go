package listener

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// gate lets calls through to a socket while it is open, and holds them while it is shut.
//
// A call that is let through costs two atomic additions and no allocation. A past deadline on the socket wakes those
// in flight when the gate shuts; they find out by leave that the deadline was not theirs, and queue at the gate. The
// zero value is closed for good.
type gate struct {
	state atomic.Uint64 // epoch<<32 | opened | number of calls in flight

	op sync.Mutex // held throughout a change of state, by the owner of the gate; taken before mu

	mu       sync.Mutex
	live     bool
	deadline time.Time             // what the user asked for; always with a monotonic part
	apply    func(time.Time) error // sets the socket's deadline; nil while there is no socket in the poller
	changed  chan struct{}         // closed when those who queue must look again; nil if nobody does
	handouts int                   // how many calls to send away with errHandout
	drained  chan struct{}         // closed by the last to leave a shut gate; nil if nobody waits for that
}

const (
	opened   = 1 << 31
	inFlight = opened - 1
	epochOne = 1 << 32 // the epoch counts how often the gate was shut; wrapping around does no harm
)

// stuckAfter bounds how long pause waits for calls in flight. They come back within microseconds, or never.
const stuckAfter = 5 * time.Second

// aLongTimeAgo is a deadline that has passed, whatever the clock does.
var aLongTimeAgo = time.Unix(1, 0)

// init brings a gate to life, shut.
func (g *gate) init(apply func(time.Time) error) error {
	if apply != nil {
		if err := apply(aLongTimeAgo); err != nil {
			return err
		}
	}
	g.live, g.apply = true, apply
	return nil
}

// enter waits until the gate is open. Without error the caller is in flight and must call leave with the result. The
// errors are net.ErrClosed, os.ErrDeadlineExceeded and errHandout, bare.
func (g *gate) enter() (epoch uint32, err error) {
	if n := g.state.Add(1); n&opened != 0 {
		return uint32(n >> 32), nil
	}
	return g.queue()
}

// queue is the slow path of enter.
func (g *gate) queue() (uint32, error) {
	for {
		g.exit()
		if err := g.wait(); err != nil {
			return 0, err
		}
		if n := g.state.Add(1); n&opened != 0 {
			return uint32(n >> 32), nil
		}
	}
}

// wait returns nil when the gate seems open.
func (g *gate) wait() error {
	for {
		g.mu.Lock()
		if !g.live {
			g.mu.Unlock()
			return net.ErrClosed
		}
		if g.state.Load()&opened != 0 {
			g.mu.Unlock()
			return nil
		}
		if g.handouts > 0 {
			g.handouts--
			g.mu.Unlock()
			return errHandout
		}
		var expired <-chan time.Time
		if !g.deadline.IsZero() {
			d := time.Until(g.deadline)
			if d <= 0 {
				g.mu.Unlock()
				return os.ErrDeadlineExceeded
			}
			expired = time.After(d)
		}
		changed := g.changes()
		g.mu.Unlock()
		select {
		case <-changed:
		case <-expired:
		}
	}
}

// leave ends what enter began. It reports whether err is only the sign that the gate was shut in between, so that the
// caller is to enter again.
func (g *gate) leave(epoch uint32, err error) (again bool) {
	g.exit()
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	n := g.state.Load()
	return n&opened == 0 || uint32(n>>32) != epoch
}

// rest waits for d, or until the gate opens or closes or has another deadline.
func (g *gate) rest(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	g.mu.Lock()
	if !g.live {
		g.mu.Unlock()
		return
	}
	changed := g.changes()
	g.mu.Unlock()
	select {
	case <-changed:
	case <-timer.C:
	}
}

func (g *gate) exit() {
	if n := g.state.Add(^uint64(0)); n&(opened|inFlight) == 0 {
		g.mu.Lock()
		if g.drained != nil && g.state.Load()&inFlight == 0 {
			close(g.drained)
			g.drained = nil
		}
		g.mu.Unlock()
	}
}

// pause shuts the gate and returns when no call is in flight. If it cannot wake them, the gate is as it was; if they do
// not wake (ErrStuck), it is shut. Callers hold op.
func (g *gate) pause() error {
	g.mu.Lock()
	if !g.live {
		g.mu.Unlock()
		return net.ErrClosed
	}
	if g.state.Load()&opened != 0 {
		// The epoch comes second: whoever enters in between must be turned away, not take the new epoch along into a
		// flight that began before the pause.
		g.state.And(^uint64(opened))
		g.state.Add(epochOne)
		if err := g.apply(aLongTimeAgo); err != nil {
			g.state.Or(opened)
			g.notify()
			g.mu.Unlock()
			return err
		}
	}
	if g.state.Load()&inFlight == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.drained == nil {
		g.drained = make(chan struct{})
	}
	drained := g.drained
	g.mu.Unlock()
	timer := time.NewTimer(stuckAfter)
	defer timer.Stop()
	select {
	case <-drained:
		return nil
	case <-timer.C:
		return ErrStuck
	}
}

// open opens the gate with the user's deadline. Callers hold op.
func (g *gate) open() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.live {
		return net.ErrClosed
	}
	if g.state.Load()&opened != 0 {
		return nil
	}
	if err := g.apply(g.deadline); err != nil {
		return err
	}
	g.state.Or(opened)
	g.notify()
	return nil
}

// close shuts the gate for good, and reports whether it was alive. It does not wake the calls in flight: closing the
// socket does. Callers hold op.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.live {
		return false
	}
	g.live = false
	g.state.And(^uint64(opened))
	g.notify()
	return true
}

// setDeadline records the deadline, for those who queue and for the times when the gate is open.
func (g *gate) setDeadline(t time.Time) error {
	if !t.IsZero() {
		t = time.Now().Add(time.Until(t)) // the socket's deadline does not follow the wall clock, nor must ours
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.live {
		return net.ErrClosed
	}
	if g.state.Load()&opened != 0 {
		if err := g.apply(t); err != nil {
			return err
		}
	}
	g.deadline = t
	g.notify()
	return nil
}

// isOpen reports whether the gate lets calls through. Callers hold op if the answer is to last.
func (g *gate) isOpen() bool { return g.state.Load()&opened != 0 }

// changes returns what notify closes. Callers hold mu.
func (g *gate) changes() <-chan struct{} {
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	return g.changed
}

// notify makes those who queue look again. Callers hold mu.
func (g *gate) notify() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}
