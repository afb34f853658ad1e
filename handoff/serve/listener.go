package serve

import (
	"net"
	"sync"
)

// listener is what a server gets in place of the listener that the program gave: it tells when the server first waits
// for a connection, and remembers which connections it got. The connections themselves are passed through untouched,
// so that sendfile(2) and type assertions work as ever.
type listener struct {
	net.Listener
	conns   *conns // nil: nobody counts
	once    sync.Once
	waiting chan struct{} // closed at the first Accept
}

func newListener(l net.Listener, c *conns) *listener {
	return &listener{Listener: l, conns: c, waiting: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	l.once.Do(func() { close(l.waiting) })
	c, err := l.Listener.Accept()
	if err == nil && l.conns != nil {
		l.conns.add(c)
	}
	return c, err
}
