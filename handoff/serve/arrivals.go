package serve

import (
	"net"
	"sync"
)

// arrivals is the listener from which net/http gets the connections of predecessors. It is a second one, so that those
// that clients make take no other way than without this package.
type arrivals struct {
	addr net.Addr

	mu     sync.Mutex
	queue  []net.Conn // not longer than there are descriptors
	closed bool
	ready  sync.Cond
}

func newArrivals(addr net.Addr) *arrivals {
	a := &arrivals{addr: addr}
	a.ready.L = &a.mu
	return a
}

// put reports false if nobody accepts any more.
func (a *arrivals) put(c net.Conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.queue = append(a.queue, c)
	a.ready.Signal()
	return true
}

// Accept returns an error only when everything that was put has been returned.
func (a *arrivals) Accept() (net.Conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.queue) == 0 {
		if a.closed {
			return nil, &net.OpError{Op: "accept", Net: a.addr.Network(), Addr: a.addr, Err: net.ErrClosed}
		}
		a.ready.Wait()
	}
	c := a.queue[0]
	a.queue[0] = nil
	if a.queue = a.queue[1:]; len(a.queue) == 0 {
		a.queue = nil
	}
	return c, nil
}

func (a *arrivals) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.ready.Broadcast()
	return nil
}

func (a *arrivals) Addr() net.Addr { return a.addr }
