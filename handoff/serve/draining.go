package serve

import (
	"context"
	"net"
	"sync"
	"time"
)

// Draining returns a channel that is closed when the generation that handles a request wants to be rid of it. ctx is
// the context of the request, or made of it. It is for responses that have no end of their own, such as server-sent
// events: a handler that sees the channel closed returns, and its client goes on with the successor, mostly on the same
// connection.
//
// The channel is closed when a successor has taken over; on a connection that cannot move, at the moment from which on
// its responses say "Connection: close" ([Server.Spread]), so that the client's next request is the last one there.
// Where the program has state that moves ([Run] holds the requests then) it is closed already before, for all. If the
// generation is revived, a new call gives a new channel. For a context that is not of a request of this package's
// servers the channel is nil, and blocks for ever. It costs nothing until it is called. Safe for concurrent use.
func Draining(ctx context.Context) <-chan struct{} {
	s, ok := ctx.Value(scopeKey{}).(*scope)
	if !ok {
		return nil
	}
	return s.st.draining.wait(ctx, s)
}

// draining is whether requests are to end, which many may want at once, and others wait for. The zero value is one that
// nobody wants to end.
type draining struct {
	mu     sync.Mutex
	all    int                      // who wants all to end at once
	each   int                      // who wants each to end at its moment
	asking map[<-chan struct{}]*end // by the request's Done
}

// end is what one request waits for.
type end struct {
	c     chan struct{}
	scope *scope
	over  bool        // c is closed
	timer *time.Timer // nil if its moment is not known
}

// begin asks requests to end.
func (d *draining) begin(all bool) { d.change(all, 1) }

// end undoes begin.
func (d *draining) end(all bool) { d.change(all, -1) }

func (d *draining) change(all bool, by int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if all {
		d.all += by
	} else {
		d.each += by
	}
	for done, e := range d.asking {
		if by < 0 && e.over {
			delete(d.asking, done) // who asks again gets a new one
			continue
		}
		d.arm(e)
	}
}

// arm closes e, or sees to it that it is closed when it should. Callers hold mu.
func (d *draining) arm(e *end) {
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	switch {
	case e.over || d.all == 0 && d.each == 0:
	case d.all > 0 || e.scope.leaves():
		e.close()
	default:
		left := e.scope.st.until(e.scope.client())
		if left <= 0 {
			e.close()
			return
		}
		var timer *time.Timer
		timer = time.AfterFunc(left, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if e.timer == timer {
				e.close()
			}
		})
		e.timer = timer
	}
}

func (e *end) close() {
	e.over = true
	close(e.c)
}

func (d *draining) wait(ctx context.Context, s *scope) <-chan struct{} {
	done := ctx.Done()
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.asking[done]
	if e != nil {
		return e.c
	}
	if d.asking == nil {
		d.asking = make(map[<-chan struct{}]*end)
	}
	e = &end{c: make(chan struct{}), scope: s}
	d.asking[done] = e
	context.AfterFunc(ctx, func() { d.forget(done, e) })
	d.arm(e)
	return e.c
}

// forget is called when the request is over.
func (d *draining) forget(done <-chan struct{}, e *end) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	if d.asking[done] == e {
		delete(d.asking, done)
	}
}

// scopeKey is the key of the scope in the context of a request.
type scopeKey struct{}

// scope is what a request's context says of its connection.
type scope struct {
	st      *httpState
	conn    *tracked // nil if it cannot move
	net     net.Conn // then; nil in that of connections that are not known
	running int      // requests that the gate has let pass; the gate's, as what follows
	round   uint64   // in which the last of them began
	used    bool     // there was one
}

// client returns the address that net/http knows.
func (s *scope) client() string {
	c := s.net
	if s.conn != nil {
		c = s.conn.under
	}
	if c == nil || c.RemoteAddr() == nil {
		return ""
	}
	return c.RemoteAddr().String()
}

// again reports whether a client has already had an answer on this connection, here or from a predecessor.
func (s *scope) again() bool {
	if s.conn != nil && s.conn.forwards {
		return true
	}
	s.st.gate.mu.Lock()
	defer s.st.gate.mu.Unlock()
	return s.used && s != &s.st.scope
}

// isHeld reports whether the connection is one that a hold stops between two requests.
func (s *scope) isHeld() bool {
	c := s.conn
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.apart && !c.stand.pinned
}

// leaves reports whether the connection moves on, so that its client need not be told to leave.
func (s *scope) leaves() bool { return s.conn != nil && s.conn.leaves() }

// connContext is what http.Server calls for each connection.
type connContext = func(context.Context, net.Conn) context.Context

// connContext returns the function that gives each connection its scope.
func (st *httpState) connContext(next connContext) connContext {
	return func(ctx context.Context, c net.Conn) context.Context {
		if next != nil {
			if ctx = next(ctx, c); ctx == nil {
				return nil // net/http says what it thinks of that
			}
		}
		var s *scope
		if t := trackedOf(c); t != nil {
			s = &t.scope
		} else {
			s = st.conns.scopeOf(c, st)
		}
		return context.WithValue(ctx, scopeKey{}, s)
	}
}
