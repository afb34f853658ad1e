package serve

import (
	"net"
	"sync"
)

// listener is what a server gets in place of the listener that the program gave: it tells when the server first waits
// for a connection, and lets the server's accepted see which it got.
type listener struct {
	net.Listener
	accepted func(net.Conn) net.Conn // nil: nobody wants to know
	once     sync.Once
	waiting  chan struct{} // closed at the first Accept
}

func newListener(l net.Listener, accepted func(net.Conn) net.Conn) *listener {
	return &listener{Listener: l, accepted: accepted, waiting: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	l.once.Do(func() { close(l.waiting) })
	c, err := l.Listener.Accept()
	if err == nil && l.accepted != nil {
		c = l.accepted(c)
	}
	return c, err
}
