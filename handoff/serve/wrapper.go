package serve

import (
	"io"
	"net"
	"time"
)

// tcpConn is what net/http gets for a *net.TCPConn. Everything but reading, closing and deadlines is that of the
// connection itself: ReadFrom, for one, by which a file is sent with sendfile(2).
type tcpConn struct {
	*net.TCPConn
	tracked tracked
}

func (c *tcpConn) Read(p []byte) (int, error)        { return c.tracked.read(p) }
func (c *tcpConn) Close() error                      { return c.tracked.closeConn() }
func (c *tcpConn) SetDeadline(t time.Time) error     { return c.tracked.setDeadline(t) }
func (c *tcpConn) SetReadDeadline(t time.Time) error { return c.tracked.setReadDeadline(t) }

// NetConn returns the *net.TCPConn.
func (c *tcpConn) NetConn() net.Conn { return c.TCPConn }

// WriteTo is for programs that have hijacked the connection: net/http does not call it.
func (c *tcpConn) WriteTo(w io.Writer) (int64, error) {
	c.tracked.pin()
	return c.TCPConn.WriteTo(w)
}

// unixConn is tcpConn for a *net.UnixConn.
type unixConn struct {
	*net.UnixConn
	tracked tracked
}

func (c *unixConn) Read(p []byte) (int, error)        { return c.tracked.read(p) }
func (c *unixConn) Close() error                      { return c.tracked.closeConn() }
func (c *unixConn) SetDeadline(t time.Time) error     { return c.tracked.setDeadline(t) }
func (c *unixConn) SetReadDeadline(t time.Time) error { return c.tracked.setReadDeadline(t) }

// NetConn returns the *net.UnixConn.
func (c *unixConn) NetConn() net.Conn { return c.UnixConn }

// pin makes c one that does not move.
func (c *tracked) pin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stand.pinned = true
	c.t.parted.send()
}

// trackedOf returns what is tracked of the connection c, nil if it is not.
func trackedOf(c net.Conn) *tracked {
	switch c := c.(type) {
	case *tcpConn:
		return &c.tracked
	case *unixConn:
		return &c.tracked
	}
	return nil
}
