package serve

import (
	"context"
	"net"
	"sync"
)

// Draining returns a channel that is closed when the generation that handles a request wants to be rid of it. ctx is
// the context of the request, or made of it. It is for responses that have no end of their own, such as server-sent
// events: a handler that sees the channel closed returns, and its client goes on with the successor, mostly on the same
// connection.
//
// The channel is closed when a successor has taken over, and, where the program has state that moves ([Run] holds the
// requests then), already before. If the generation is revived, a new call gives a new channel. For a context that is
// not of a request of this package's servers the channel is nil, and blocks for ever. It costs nothing until it is
// called. Safe for concurrent use.
func Draining(ctx context.Context) <-chan struct{} {
	s, ok := ctx.Value(scopeKey{}).(*scope)
	if !ok {
		return nil
	}
	return s.st.draining.wait()
}

// signal is a condition, which many may want at once, and others wait for. The zero value is one that nobody wants.
type signal struct {
	mu     sync.Mutex
	wanted int
	c      chan struct{} // closed while wanted > 0; nil if nobody has asked for it
}

func (s *signal) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted++; s.wanted == 1 && s.c != nil {
		close(s.c)
	}
}

func (s *signal) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted--; s.wanted == 0 {
		s.c = nil
	}
}

func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == nil {
		s.c = make(chan struct{})
		if s.wanted > 0 {
			close(s.c)
		}
	}
	return s.c
}

// scopeKey is the key of the scope in the context of a request.
type scopeKey struct{}

// scope is what a request's context says of its connection.
type scope struct {
	st      *httpState
	conn    *tracked // nil if it cannot move
	running int      // requests that the gate has let pass; the gate's
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

// connContext returns the function that gives each connection its scope.
func (st *httpState) connContext(next func(context.Context, net.Conn) context.Context) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, c net.Conn) context.Context {
		if next != nil {
			if ctx = next(ctx, c); ctx == nil {
				return nil // net/http says what it thinks of that
			}
		}
		s := &st.scope
		if t := trackedOf(c); t != nil {
			s = &t.scope
		} else if st.holds {
			s = st.conns.scopeOf(c, st)
		}
		return context.WithValue(ctx, scopeKey{}, s)
	}
}
