package serve

import (
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// fate is what has become of a connection.
type fate uint8

const (
	here   fate = iota
	moving      // given to a Departure, outcome unknown
	gone        // the successor has it
)

// tracked is what this package knows of a connection that can move, and how it is read: so that whoever holds mu can
// decide that it moves, while net/http is blocked in Read. Every read(2) is made under mu, and does not wait (see try).
//
// mu is never held while something blocks. Methods of it that say nothing else are called with mu held.
type tracked struct {
	under net.Conn // *net.TCPConn or *net.UnixConn
	raw   syscall.RawConn
	again func(uintptr) bool // the method try; here, so that it is allocated once
	t     *tracker
	scope scope
	place int // in t.conns, whose mutex guards it

	mu       sync.Mutex
	changed  sync.Cond // a move has its outcome, or a hold has ended
	stand    stand
	fate     fate
	closed   bool
	deferred bool // Close was called while the outcome of a move was unknown
	forwards bool // came from a predecessor, and so somebody else may have a copy of it for a moment yet
	apart    bool // left out of a hold: its next request is to wait
	slow     bool // a hold does not wait for the rest of its header
	requests uint32
	deadline time.Time
	moved    mode // the departure to which it was given
	kept     mode // the departure that gave it back
	arrival  *arrival
	began    time.Time // when the first request began after an arrival, if net/http has waited for it
	record   record
	body     body

	// These are of the Read in progress.
	inRead  bool
	starved bool // try found nothing to read
	stopped bool // try found that it must not read
	woken   bool // a past deadline was set to end the wait; the one asked for is in deadline
	buf     []byte
	n       int
	err     error
}

func (c *tracked) init(t *tracker, under net.Conn, raw syscall.RawConn) {
	c.under, c.raw, c.t = under, raw, t
	c.again = c.try
	c.changed.L = &c.mu
	c.scope = scope{st: t.st, conn: c}
}

// SyscallConn is for a Departure.
func (c *tracked) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// state is told what net/http says to its ConnState hook. It takes mu.
func (c *tracked) state(st http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stand.state(st)
	switch st {
	case http.StateActive:
		c.requests++
		c.record.active()
		c.body.active()
	case http.StateIdle:
		c.body.idle()
	case http.StateHijacked, http.StateClosed:
		c.record.end()
	}
}

// expect is told of a body that net/http is about to read, and how long it is: -1 if that is chunked. It takes mu.
func (c *tracked) expect(length int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.body.expect(length)
}

// between reports whether c can be held or moved where it is.
func (c *tracked) between() bool {
	if c.fate != here || c.closed || c.stand.pinned {
		return false
	}
	if c.stand.phase == fresh && c.stand.seen == 0 {
		return true // perhaps not read yet
	}
	if !c.inRead {
		return false
	}
	_, ok := c.stand.between(len(c.buf))
	return ok || c.record.on && c.stand.inHeader()
}

// stops reports whether c must not be read now.
func (c *tracked) stops() bool {
	if c.fate != here {
		return true
	}
	return c.cuts() && c.between()
}

// quiet reports whether a hold need not wait for c.
func (c *tracked) quiet() bool {
	return c.fate != here || c.closed || c.stand.pinned || c.between()
}

// isQuiet takes mu.
func (c *tracked) isQuiet() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.quiet()
}

// depart makes c one that moves, if it can. It takes mu.
func (c *tracked) depart(m mode) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == m.departure() || !c.between() {
		return false
	}
	c.fate, c.moved = moving, m.departure()
	c.t.parted.send()
	if c.stand.phase == fresh && c.arrival == nil && !c.inRead && c.deadline.IsZero() {
		// Accepted a moment ago, and net/http has not come to set the deadline.
		if d := headerTimeout(c.t.server); d > 0 {
			c.deadline = time.Now().Add(d)
		}
	}
	return true
}

// leaves reports whether c moves on after the request that is being answered, as far as one can tell. It takes mu.
func (c *tracked) leaves() bool {
	m := c.t.mode()
	if !m.departing() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fate == here && c.kept != m.departure() && !c.stand.pinned && !c.closed
}

// Moved is for the Departure. If a Read is in progress, that goroutine closes the connection: a Close from here would
// wait until it has left the poller.
func (c *tracked) Moved() {
	c.mu.Lock()
	c.fate = gone
	reading := c.inRead
	if reading {
		_ = c.under.SetReadDeadline(past())
	}
	c.changed.Broadcast()
	c.mu.Unlock()
	if !reading {
		_ = c.under.Close()
	}
}

// Kept is for the Departure.
func (c *tracked) Kept() {
	c.mu.Lock()
	c.fate, c.kept = here, c.moved
	c.t.parted.send()
	closing := c.deferred
	c.closed = c.closed || closing
	if c.inRead && !closing && c.stops() {
		// There was a Stay and another Depart in the meantime, or a Hold. Only the goroutine that reads may give c away
		// again: this one may be in the midst of something.
		c.woken = true
		_ = c.under.SetReadDeadline(past())
	}
	c.changed.Broadcast()
	c.mu.Unlock()
	if closing {
		_ = c.finish()
	}
}

// position is what a Departure asks for. It takes mu.
func (c *tracked) position() (position, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var p position
	switch n, ok := c.stand.between(len(c.buf)); {
	case c.arrival != nil && c.stand.seen == 0:
		p = position{begun: c.arrival.begun, leniency: c.arrival.leniency, ahead: c.arrival.ahead}
	case c.stand.phase == fresh && c.stand.seen == 0:
		p = position{begun: true}
	case ok:
		p = position{leniency: leniency, ahead: c.stand.ahead(n)}
	default:
		p = position{begun: true, leniency: c.record.leniency, ahead: c.record.buf}
		if c.arrival != nil {
			p.ahead = append(p.ahead[:len(p.ahead):len(p.ahead)], c.arrival.ahead...)
		}
	}
	return p, c.deadline
}

// closeConn is Close for net/http, or for the program.
func (c *tracked) closeConn() error {
	c.mu.Lock()
	switch c.fate {
	case gone:
		c.mu.Unlock()
		return nil
	case moving:
		// It may be the successor's already, and then a shutdown(2) from here would be felt there.
		c.deferred = true
		c.mu.Unlock()
		return nil
	}
	first := !c.closed
	c.closed = true
	c.changed.Broadcast()
	c.t.parted.send()
	c.mu.Unlock()
	if !first {
		return c.under.Close()
	}
	return c.finish()
}

// finish closes a connection, without mu. One that has come from a predecessor sends FIN only when the last copy is
// closed, and the predecessor closes its own only when it has heard that the connection has arrived; shutdown(2) says
// it at once.
func (c *tracked) finish() error {
	if w, ok := c.under.(interface{ CloseWrite() error }); ok && c.forwards {
		_ = w.CloseWrite()
	}
	return c.under.Close()
}

// headerTimeout is that of net/http.
func headerTimeout(s *http.Server) time.Duration {
	if s.ReadHeaderTimeout != 0 {
		return s.ReadHeaderTimeout
	}
	return s.ReadTimeout
}

func past() time.Time { return time.Unix(1, 0) }
