package serve

import (
	"context"
	"net"
	"sync"
)

// conns is the set of connections that a server accepted and has not yet finished with. A connection is in it from
// the moment that Accept returns it, not from net/http's StateNew: in between, http.Server does not know of it
// (golang/go#33313). The zero value is an empty set. Safe for concurrent use.
type conns struct {
	mu    sync.Mutex
	open  map[net.Conn]*scope // nil for those that are tracked, which have theirs, and until net/http has one
	empty chan struct{}       // made by whoever waits, closed when open becomes empty
}

func (s *conns) add(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[net.Conn]*scope)
	}
	s.open[c] = nil
}

// remove takes c out of the set, or the connection of ours below c: of a server with TLS, add sees the TCP connection
// and net/http the TLS connection on it. A connection that is not in the set is ignored; the server may have others.
// It returns what scopeOf made for c.
func (s *conns) remove(c net.Conn) (own *scope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c = s.find(c); c != nil {
		own = s.open[c]
		delete(s.open, c)
	}
	if len(s.open) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
	return own
}

// find returns c or the connection below it that is in the set, nil if there is none. Called with mu held.
func (s *conns) find(c net.Conn) net.Conn {
	for ; c != nil; c = below(c) {
		if _, ok := s.open[c]; ok {
			return c
		}
	}
	return nil
}

// scopeOf makes a scope for c, which remove returns.
func (s *conns) scopeOf(c net.Conn, st *httpState) *scope {
	own := &scope{st: st, net: c}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c = s.find(c); c != nil {
		s.open[c] = own
	}
	return own
}

// scoped is a connection, and what its requests' contexts say of it.
type scoped struct {
	net.Conn
	scope *scope
}

// all returns the connections that have a scope.
func (s *conns) all() []scoped {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []scoped
	for c, own := range s.open {
		if t := trackedOf(c); t != nil {
			own = &t.scope
		}
		if own != nil {
			all = append(all, scoped{c, own})
		}
	}
	return all
}

// wait returns nil once the set is empty, or the error of ctx.
func (s *conns) wait(ctx context.Context) error {
	s.mu.Lock()
	if len(s.open) == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	empty := s.empty
	s.mu.Unlock()

	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// abort closes all connections in the set and returns how many these were. They leave the set when their handlers
// have returned. It closes what is below TLS, so that no alert is written to a peer that does not read: that takes up
// to five seconds for each.
func (s *conns) abort() int {
	s.mu.Lock()
	open := make([]net.Conn, 0, len(s.open))
	for c := range s.open {
		open = append(open, c)
	}
	s.mu.Unlock()

	for _, c := range open {
		for b := below(c); b != nil && trackedOf(c) == nil; b = below(c) {
			c = b
		}
		_ = c.Close() // the handler's next read or write tells
	}
	return len(open)
}

// below returns the connection that c wraps, nil if it wraps none or does not say. *tls.Conn says.
func below(c net.Conn) net.Conn {
	if w, ok := c.(interface{ NetConn() net.Conn }); ok {
		return w.NetConn()
	}
	return nil
}
