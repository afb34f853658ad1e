package serve

import (
	"io"
	"net"
	"os"
	"time"
)

// read is Read. One at a time is tracked; net/http makes no more. It is called without mu.
func (c *tracked) read(p []byte) (int, error) {
	c.mu.Lock()
	if len(p) == 0 || c.inRead || c.stand.pinned && c.arrival == nil {
		// There is nothing to be known of it, or it is not net/http any more who reads.
		if c.inRead && !c.stand.pinned {
			c.stand.pinned = true
			c.t.parted.send()
		}
		c.mu.Unlock()
		return c.under.Read(p)
	}
	c.inRead, c.buf = true, p
	c.record.begin(&c.stand, len(p))
	now := c.arrival != nil // its deadline may have passed after it was found to be readable
	for {
		now = c.pause() || now
		if c.fate == gone {
			c.leave()
			c.mu.Unlock()
			_ = c.under.Close()
			return 0, io.EOF
		}
		if c.arrival != nil && c.deliverPending() {
			n := c.n
			c.mu.Unlock()
			return n, nil
		}
		c.mu.Unlock()

		err := c.attempt(now)
		// Only this goroutine writes stopped, n and err.
		if err == nil && !c.stopped {
			return c.n, c.err
		}
		c.mu.Lock()
		now = true
		switch {
		case c.stopped:
			c.stopped = false
		case c.fate != here:
		case c.woken:
			c.restoreDeadline()
		default:
			c.leave()
			c.mu.Unlock()
			if e, ok := err.(*net.OpError); ok { //nolint:errorlint // net made it just now, for this call alone
				e.Op = "read"
			}
			return 0, err
		}
	}
}

// pause returns when c may be read, or is gone, and reports whether that took time: in which something may have arrived
// that is to be read though the deadline has passed.
func (c *tracked) pause() (waited bool) {
	for c.fate != gone && c.stops() {
		waited = true
		switch {
		case c.fate == here && c.t.mode().departing():
			c.mu.Unlock()
			c.t.send(c)
			c.mu.Lock()
			continue
		case c.fate == here:
			c.t.recheckHold()
		}
		c.changed.Wait()
	}
	return waited
}

// attempt lets try read, once or until there is something. Without mu. now is for what is there already, whatever
// the deadline.
func (c *tracked) attempt(now bool) error {
	if now {
		done := false
		err := c.raw.Control(func(fd uintptr) { done = c.try(fd) })
		if err == nil && done {
			return nil
		}
	}
	return c.raw.Read(c.again)
}

// try reads what is there. It is what RawConn calls, without mu; false means that there is not enough yet.
//
// The runtime's poller reports each arrival once. So what try leaves unread is read only if it returns true.
func (c *tracked) try(fd uintptr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stops() {
		c.stopped = true
		return true
	}
	for {
		k := 0
		if c.arrival != nil {
			k = copy(c.buf, c.arrival.ahead)
		}
		n, ready, err := c.take(fd, k)
		switch {
		case !ready:
			c.starved = true
			c.t.recheckHold()
			return false
		case err != nil:
			c.n, c.err = 0, c.readError(err)
			c.leave()
			return true
		case n == 0:
			// What is pending of a request is dropped, as net/http does when Peek fails.
			c.n, c.err = 0, io.EOF
			c.leave()
			return true
		}
		if n = k + n; c.arrival == nil || c.enough(&n) {
			c.deliver(n)
			return true
		}
	}
}

// deliver ends a Read that got n bytes.
func (c *tracked) deliver(n int) {
	b := c.buf[:n]
	if c.stand.phase == active {
		c.body.deliver(b)
	} else {
		c.body.header(&c.stand, b)
	}
	switch {
	case c.record.on:
		c.record.add(&c.stand, b)
	case c.stand.phase == active:
		c.record.addBackground(b, len(c.buf))
	}
	c.stand.deliver(b)
	if c.stand.pinned {
		c.t.recheckHold()
		c.t.parted.send()
	}
	c.n, c.err = n, nil
	c.leave()
}

// leave ends a Read.
func (c *tracked) leave() {
	c.inRead, c.starved, c.buf = false, false, nil
	c.restoreDeadline()
}

// restoreDeadline puts the deadline back that was set aside to wake a Read.
func (c *tracked) restoreDeadline() {
	if c.woken && c.fate == here {
		c.woken = false
		_ = c.under.SetReadDeadline(c.deadline)
	}
}

// readError makes the error that net gives for the same.
func (c *tracked) readError(err error) error {
	local := c.under.LocalAddr()
	return &net.OpError{
		Op: "read", Net: local.Network(), Source: local, Addr: c.under.RemoteAddr(),
		Err: os.NewSyscallError("read", err),
	}
}

// setReadDeadline is called without mu. What is set is set under mu, so that it does not undo what wakes a Read.
func (c *tracked) setReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stand.deadline()
	if c.fate == gone {
		return nil
	}
	if c.arrival != nil && c.stand.seen == 0 {
		var later bool
		if t, later = c.arrival.deadline(t); later {
			return nil
		}
	}
	t = c.whole(t)
	c.deadline = t
	if c.woken {
		return nil
	}
	return c.under.SetReadDeadline(t)
}

func (c *tracked) setDeadline(t time.Time) error {
	if err := c.setReadDeadline(t); err != nil {
		return err
	}
	return c.under.SetWriteDeadline(t)
}
