package serve

import "time"

// arrival is what a connection of a predecessor brings along, until its first bytes are delivered. net/http takes it
// for a new connection. So what net/http would have done between two requests is done here.
type arrival struct {
	position
	header time.Duration // the header deadline that net/http has asked for, from the first bytes on; 0 is none
	least  time.Time     // if begun: when the header must be complete
}

// deadline is told of the deadline that net/http asks for before it reads: that for a header. It returns the one that
// is to be set; later is true if it is to be set only when the next request begins.
func (a *arrival) deadline(t time.Time) (_ time.Time, later bool) {
	if a.begun {
		if !a.least.IsZero() && (t.IsZero() || t.After(a.least)) {
			t = a.least
		}
		return t, false
	}
	a.header = 0
	if !t.IsZero() {
		a.header = time.Until(t)
	}
	return t, true
}

// skip drops from b the CR and LF bytes that may still be ignored.
func (a *arrival) skip(b []byte) []byte {
	for a.leniency > 0 && len(b) > 0 && (b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
		a.leniency--
	}
	return b
}

// deliverPending ends a Read with bytes that the predecessor has read already, if these are part of a request at whose
// header net/http would be reading by now.
func (c *tracked) deliverPending() bool {
	a := c.arrival
	if c.stand.seen == 0 {
		a.ahead = a.skip(a.ahead)
	}
	// Into a slice that is too small to wait in, everything is delivered as it comes. net/http gives none.
	if len(a.ahead) == 0 || !a.begun && len(c.buf) > peekSize+len(a.ahead) {
		return false
	}
	n := copy(c.buf, a.ahead)
	a.ahead = a.ahead[n:]
	if len(a.ahead) == 0 {
		c.arrived()
	}
	c.deliver(n)
	return true
}

// enough is called when *n bytes are there, those pending first. It reports whether these are to be delivered, and if
// so sets *n to their number: net/http waits for four bytes with the deadline for idleness, and so does this.
func (c *tracked) enough(n *int) bool {
	a := c.arrival
	b := a.skip(c.buf[:*n])
	if len(b) == 0 || len(b) < peekSize && !a.begun && len(c.buf) > peekSize+len(b) {
		a.ahead = append(a.ahead[:0], b...)
		return false
	}
	*n = copy(c.buf, b)
	c.arrived()
	return true
}

// arrived ends the arrival of a connection: a request has begun.
func (c *tracked) arrived() {
	a := c.arrival
	c.arrival = nil
	c.record.leniency = a.leniency
	if a.begun {
		return
	}
	c.began = time.Now()
	c.deadline = time.Time{}
	if a.header != 0 {
		c.deadline = c.began.Add(a.header)
	}
	if !c.woken {
		_ = c.under.SetReadDeadline(c.deadline)
	}
}

// whole returns the deadline t that net/http asks for, or if that is for the whole of the first request after an arrival,
// the one that it would ask for if it had begun to wait for its header only when that had begun.
func (c *tracked) whole(t time.Time) time.Time {
	if c.began.IsZero() || c.stand.phase != fresh || t.IsZero() || c.t.server.ReadTimeout <= 0 {
		return t
	}
	if least := c.began.Add(c.t.server.ReadTimeout); t.Before(least) {
		return least
	}
	return t
}
