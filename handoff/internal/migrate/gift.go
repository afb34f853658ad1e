package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/listener"
)

// liveConn is what *net.TCPConn and *net.UnixConn have in common.
type liveConn interface {
	net.Conn
	syscall.Conn
}

// bottom returns the connection that has the descriptor.
func bottom(c net.Conn) (liveConn, error) {
	for {
		switch inner := c.(type) {
		case *net.TCPConn:
			return inner, nil
		case *net.UnixConn:
			return inner, nil
		}
		if _, ok := c.(interface{ HandshakeContext(context.Context) error }); ok { // *tls.Conn, and its likes
			return nil, fmt.Errorf("%T: the keys of a TLS connection cannot move; let its client connect again: %w", c, errors.ErrUnsupported)
		}
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil, fmt.Errorf("%T is no *net.TCPConn or *net.UnixConn, and has no method NetConn: %w", c, errors.ErrUnsupported)
		}
		c = w.NetConn()
	}
}

// gift is a connection that a program gives, or has not taken yet.
type gift struct {
	kept  *gifts // where it comes back if it does not move
	name  string
	conn  liveConn     // of what this program gives; nil for what came from another process
	fd    *listener.FD // of what came; nil for the others
	state []byte
}

func (f *gift) SyscallConn() (syscall.RawConn, error) {
	if f.conn != nil {
		return f.conn.SyscallConn()
	}
	return f.fd.SyscallConn()
}

// Leave is part of live.Conn: a gift has left when it is given.
func (f *gift) Leave() bool { return true }

// Position is part of live.Conn.
func (f *gift) Position() live.Position { return live.Position{State: f.state} }

// Moved is part of live.Conn.
func (f *gift) Moved() { f.close() }

// Kept is part of live.Conn.
func (f *gift) Kept() { f.kept.put(f) }

func (f *gift) close() {
	if f.conn != nil {
		_ = f.conn.Close()
	} else {
		_ = f.fd.Close()
	}
}

// gifts are the connections that nobody has taken yet. The zero value has none.
type gifts struct {
	mu      sync.Mutex
	waiting map[string][]*gift
	takers  map[string]bool // the names that were asked for; false: only warned of
	changed chan struct{}   // closed when those who wait must look again; nil if nobody does
	taken   int             // so far
	over    bool
}

// put adds f, for whoever takes it. If nobody will, it is closed.
func (s *gifts) put(f *gift) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		f.close()
		return
	}
	if s.waiting == nil {
		s.waiting = make(map[string][]*gift)
	}
	s.waiting[f.name] = append(s.waiting[f.name], f)
	s.notify()
}

// notify makes those who wait look again. Callers hold mu.
func (s *gifts) notify() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

func (s *gifts) take(ctx context.Context, name string) (net.Conn, []byte, error) {
	for {
		f, err := s.next(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		if f.conn != nil {
			s.served()
			return f.conn, f.state, nil
		}
		c, err := listener.ConnFromFD(f.fd)
		switch {
		case err == nil:
			s.served()
			return c, f.state, nil
		case errors.Is(err, listener.ErrNotConnected): // reset by its client meanwhile: as if it had never come
			f.close()
		case errors.Is(err, listener.ErrNotSocket), errors.Is(err, listener.ErrSocketType): // it would come back from each call
			f.close()
			return nil, nil, fmt.Errorf("%q: %w", name, err)
		default:
			s.put(f)
			return nil, nil, fmt.Errorf("%q: %w", name, err)
		}
	}
}

// next waits for a gift.
func (s *gifts) next(ctx context.Context, name string) (*gift, error) {
	for {
		s.mu.Lock()
		if s.over {
			s.mu.Unlock()
			return nil, io.EOF
		}
		if s.takers == nil {
			s.takers = make(map[string]bool)
		}
		s.takers[name] = true
		if w := s.waiting[name]; len(w) > 0 {
			f := w[0]
			w[0] = nil
			if s.waiting[name] = w[1:]; len(w) == 1 {
				delete(s.waiting, name)
			}
			s.mu.Unlock()
			return f, nil
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// all removes and returns what is waiting.
func (s *gifts) all() []*gift {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*gift
	for _, w := range s.waiting {
		all = append(all, w...)
	}
	s.waiting = nil
	return all
}

// served counts one that was taken.
func (s *gifts) served() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
}

// expect reports, once, that nobody has asked for this name.
func (s *gifts) expect(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.takers[name]; known {
		return false
	}
	if s.takers == nil {
		s.takers = make(map[string]bool)
	}
	s.takers[name] = false
	return true
}

// untaken returns how many wait of a name for which nobody has asked.
func (s *gifts) untaken(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.takers[name] {
		return 0
	}
	return len(s.waiting[name])
}

// count returns how many were taken so far.
func (s *gifts) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// close ends it all.
func (s *gifts) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for _, w := range s.waiting {
		for _, f := range w {
			f.close()
		}
	}
	s.waiting = nil
	s.notify()
}

// left returns how many have not been taken.
func (s *gifts) left() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, waiting := range s.waiting {
		n += len(waiting)
	}
	return n
}
