package listener

import (
	"errors"
	"net"
	"time"
)

// Queued accepts a connection that waits already, from a listener that is paused; a parked one it arms. It returns
// [ErrEmpty] if there is none, and [ErrNotPaused] while the listener is open. It serves to empty the queue before a
// close, which would reset whoever waits. Other processes may take from the same queue at the same time.
func (l *Listener) Queued() (net.Conn, error) {
	l.gate.op.Lock()
	defer l.gate.op.Unlock()
	if l.gate.isOpen() {
		return nil, opError("accept", l.addr, ErrNotPaused)
	}
	if err := l.arm(); err != nil {
		return nil, opError("accept", l.addr, err)
	}
	c, err := acceptQueued(l.ln)
	if errors.Is(err, ErrEmpty) {
		return nil, opError("accept", l.addr, ErrEmpty)
	}
	if err != nil {
		return nil, err
	}
	if l.rebuilt {
		l.keepAlive.apply(c)
	}
	return c, nil
}

// acceptWithin accepts with a deadline in d, and leaves one that has passed.
func acceptWithin(ln netListener, d time.Duration) (net.Conn, error) {
	if err := ln.SetDeadline(time.Now().Add(d)); err != nil {
		return nil, err
	}
	c, err := ln.Accept()
	if dErr := ln.SetDeadline(aLongTimeAgo); err == nil && dErr != nil {
		_ = c.Close() // cannot happen but by a close behind our back
		return nil, dErr
	}
	return c, err
}
