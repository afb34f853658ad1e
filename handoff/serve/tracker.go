package serve

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/segue-go/segue/handoff/internal/live"
)

// mode is what a tracker wants of its connections: 0 is nothing. It is one word, because each Read looks at it. Above
// the two flags it has a number, which tells one departure from the next.
type mode uint64

const (
	modeHolding   mode = 1 << iota // nothing is read between two requests
	modeDeparting                  // connections move
	modeNumber                     // 1 in the number
)

func (m mode) holding() bool   { return m&modeHolding != 0 }
func (m mode) departing() bool { return m&modeDeparting != 0 }

// departure names the departure that is in force.
func (m mode) departure() mode { return m &^ modeHolding }

// tracker is the [live.Server] of one listener.
type tracker struct {
	st       *httpState
	server   *http.Server
	arrivals *arrivals
	parted   broadcast // a connection may have left, or will not any more; for Finish

	now atomic.Uint64 // the mode

	mu        sync.RWMutex // held for reading during Departure.Move, so that none is called after Stay
	conns     line
	departure live.Departure
	number    mode
	held      bool // connections are held, see hold
}

func newTracker(st *httpState, s *http.Server, ln net.Listener) *tracker {
	return &tracker{
		st: st, server: s,
		arrivals: newArrivals(ln.Addr()),
	}
}

func (t *tracker) mode() mode { return mode(t.now.Load()) }

// track wraps a connection that was accepted, if it is one that can move.
func (t *tracker) track(c net.Conn) net.Conn {
	if w, s := wrap(t, c); s != nil {
		t.add(s)
		return w
	}
	return c
}

// wrap makes a tracked connection of c, nil if it is of a type that is not known.
func wrap(t *tracker, c net.Conn) (net.Conn, *tracked) {
	switch c := c.(type) {
	case *net.TCPConn:
		raw, err := c.SyscallConn()
		if err != nil {
			return c, nil
		}
		w := &tcpConn{TCPConn: c}
		w.tracked.init(t, c, raw)
		return w, &w.tracked
	case *net.UnixConn:
		raw, err := c.SyscallConn()
		if err != nil {
			return c, nil
		}
		w := &unixConn{UnixConn: c}
		w.tracked.init(t, c, raw)
		return w, &w.tracked
	}
	return c, nil
}

func (t *tracker) add(c *tracked) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns.add(c)
}

func (t *tracker) remove(c *tracked) {
	t.mu.Lock()
	t.conns.remove(c)
	t.mu.Unlock()
	t.recheckHold()
	t.parted.send()
}

// all returns the connections there are, the oldest first.
func (t *tracker) all() []*tracked {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.conns.all()
}

// Count is of [live.Counter].
func (t *tracker) Count() (active, idle int) {
	for _, c := range t.all() {
		c.mu.Lock()
		switch {
		case c.fate != here || c.closed:
		case c.between():
			idle++
		default:
			active++
		}
		c.mu.Unlock()
	}
	return active, idle
}

// set changes the mode, with mu held.
func (t *tracker) set(holding bool) {
	var m mode
	if t.departure != nil {
		m = t.number*modeNumber | modeDeparting
	}
	if holding {
		m |= modeHolding
	}
	t.now.Store(uint64(m))
}

// Depart is of [live.Server].
func (t *tracker) Depart(d live.Departure) {
	t.mu.Lock()
	t.departure = d
	t.number++
	held := t.held
	t.held = false
	t.set(false) // at once: no connection may be found to be neither held nor departing
	t.mu.Unlock()
	if d != nil {
		all := t.all()
		conns := make([]live.Conn, len(all))
		for i, c := range all {
			conns[i] = departing{c}
		}
		d.Ask(conns)
	}
	if held {
		t.free()
	}
}

// send gives c to the departure in force, if there is one and c can move.
func (t *tracker) send(c *tracked) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.departure != nil && c.depart(t.mode()) && !t.departure.Move(departing{c}) {
		c.Kept() // it is over; Stay is about to say so
	}
}

// Stay is of [live.Server].
func (t *tracker) Stay() {
	t.mu.Lock()
	t.departure = nil
	held := t.held
	t.set(held)
	t.mu.Unlock()
	if !held {
		t.free()
	}
	t.parted.send()
}

// Finish is of [live.Server]. It waits for the rest of a header too, if the connection cannot move in the midst of it.
// Meanwhile clients of connections that do not move are told to leave, as in a drain.
func (t *tracker) Finish(ctx context.Context) {
	defer t.st.bidFarewell(nil)()
	for {
		parted := t.parted.next()
		if !slices.ContainsFunc(t.all(), (*tracked).leaves) { // also what is offered, or has just been accepted
			break
		}
		select {
		case <-parted:
		case <-ctx.Done():
			return
		}
	}
	t.mu.Lock() // one that does not leave any more may not have been given to the departure yet, see send
	defer t.mu.Unlock()
}

// free makes connections look at the mode that were held.
func (t *tracker) free() {
	for _, c := range t.all() {
		c.mu.Lock()
		c.apart, c.slow = false, false
		c.changed.Broadcast()
		c.mu.Unlock()
	}
}

// Arrive is of [live.Server].
func (t *tracker) Arrive(c net.Conn, p live.Position) {
	pos, err := decodePosition(p.State)
	if err != nil {
		t.refuse(c, err.Error())
		return
	}
	w, s := wrap(t, c)
	if s == nil {
		t.refuse(c, "cannot be served here")
		return
	}
	s.forwards = true
	s.arrival = &arrival{position: pos, least: p.Expires}
	if s.deadline = p.Expires; !s.deadline.IsZero() {
		_ = c.SetReadDeadline(s.deadline)
	}
	t.add(s)
	t.st.conns.add(w)
	if !t.arrivals.put(w) {
		t.st.conns.remove(w)
		t.remove(s)
		_ = w.Close()
	}
}

// refuse closes a connection that a predecessor should not have sent.
func (t *tracker) refuse(c net.Conn, why string) {
	logTo(t.server, fmt.Sprintf("serve: connection of a predecessor, from %v: %s", c.RemoteAddr(), why))
	_ = c.Close()
}

// logTo logs where net/http does for s.
func logTo(s *http.Server, msg string) {
	if s.ErrorLog != nil {
		s.ErrorLog.Print(msg)
		return
	}
	slog.Warn(msg)
}

// departing is a connection as a Departure sees it.
type departing struct{ *tracked }

// Leave is called without the tracked connection's mu.
func (d departing) Leave() bool {
	d.t.mu.RLock()
	defer d.t.mu.RUnlock()
	return d.t.departure != nil && d.depart(d.t.mode())
}

func (d departing) Position() live.Position {
	p, expires := d.position()
	return live.Position{Expires: expires, State: p.encode()}
}
