package load

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// Dialer makes connections and counts them. The zero value is ready, also as the DialContext of an http.Transport. It
// may be used by many goroutines at once, but not be copied.
type Dialer struct {
	net.Dialer

	dials, failed, open atomic.Int64
}

// DialContext connects as net.Dialer does. The connection is the caller's to close.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d.dials.Add(1)
	c, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		d.failed.Add(1)
		return nil, err // already a *net.OpError that names the address
	}
	d.open.Add(1)
	return &countedConn{Conn: c, open: &d.open}, nil
}

// Dials returns how many connections were asked for.
func (d *Dialer) Dials() int { return int(d.dials.Load()) }

// Failed returns how many of them were not made.
func (d *Dialer) Failed() int { return int(d.failed.Load()) }

// Open returns how many of them are not closed yet by the client.
func (d *Dialer) Open() int { return int(d.open.Load()) }

// countedConn is a connection that tells its Dialer when it is closed.
type countedConn struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
