package serve

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// listener is what a server gets in place of the listener that the program gave: it tells when the server first waits
// for a connection, and lets the server's accepted see which it got.
type listener struct {
	net.Listener
	accepted func(net.Conn) net.Conn // nil: nobody wants to know
	once     sync.Once
	waiting  chan struct{} // closed at the first Accept
	ended    atomic.Bool   // Accept has said that it is closed
}

func newListener(l net.Listener, accepted func(net.Conn) net.Conn) *listener {
	return &listener{Listener: l, accepted: accepted, waiting: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	l.once.Do(func() { close(l.waiting) })
	c, err := l.Listener.Accept()
	switch {
	case err == nil && l.accepted != nil:
		c = l.accepted(c)
	case errors.Is(err, net.ErrClosed):
		l.ended.Store(true)
	}
	return c, err
}

// Close is for servers that close their listener themselves, and take it for a failure if the generation was faster; some
// do not wait for their clients then.
func (l *listener) Close() error {
	if err := l.Listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
