package handoff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/listener"
)

// Give hands a live connection to the successor, or to the predecessor if that got the sockets back (see
// [Generation.Fail]). The program there gets it from [Generation.Take] with the same name, and with
// state: at most 32 KiB of the program's own, which say where the connection stands. It is for the drain function of
// [Generation.Wait], and whenever this generation is superseded. Give may be called thousands of times, by one goroutine or
// many: connections are sent in batches, and no call waits for the successor. Wait does, before it returns.
//
// c is a *net.TCPConn or *net.UnixConn, or has one of these inside, by methods NetConn() net.Conn. A TLS connection is
// refused with an error that is [errors.ErrUnsupported]: its keys cannot move. Nobody may read from c or write to it any
// more when Give is called, and what was read and not used belongs into state. Give copies state, and takes the connection
// inside of c; once the successor has it, that is closed without a word to the client, and what wraps it is left as it is. On
// an error, which may be [ErrNoSuccessor], c is still the caller's, and deadlines are removed. If this generation has ended,
// it is net.ErrClosed as well.
//
// If the successor ends before it has the connection, this generation's own Take returns it, with its state. ctx is only
// looked at when Give begins.
func (g *Generation) Give(ctx context.Context, name string, c net.Conn, state []byte) error {
	return g.errorf("give", g.give(ctx, name, c, state))
}

func (g *Generation) give(ctx context.Context, name string, c net.Conn, state []byte) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := checkName(name); err != nil {
		return err
	}
	if len(state) > live.MaxState {
		return fmt.Errorf("state of %d bytes is longer than %d; move the rest by Generation.State", len(state), live.MaxState)
	}
	inner, err := bottom(c)
	if err != nil {
		return err
	}
	if err := inner.SetDeadline(time.Time{}); err != nil {
		return err
	}
	err = g.giveAway(&gift{gen: g, name: name, conn: inner, state: append([]byte(nil), state...)})
	if err != nil && g.currentPhase() == PhaseStopped {
		err = fmt.Errorf("%w: %w", err, net.ErrClosed)
	}
	return err
}

// Take returns a connection that the predecessor gave under this name, and its state. It waits for one until ctx ends. A
// program calls it in a loop, like Accept, from when it is ready to serve what it returns: also in the first generation,
// because what this generation has given comes back here if its successor ends before it has it. The connection is the
// caller's, a *net.TCPConn or *net.UnixConn with the options that it had.
//
// The error is [io.EOF] once nothing comes any more, because this generation has ended: Wait has returned, or Close was
// called. Connections that nobody has taken go on to the next successor, or are closed with the last generation. Unless
// ctx has ended, any other error means that a connection cannot be made just now, for want of descriptors: it is kept,
// and Take is to be called again after a pause. At once, it would give the same error.
func (g *Generation) Take(ctx context.Context, name string) (net.Conn, []byte, error) {
	c, state, err := g.gifts.take(ctx, name)
	if errors.Is(err, io.EOF) {
		return nil, nil, io.EOF // bare, as readers expect
	}
	return c, state, g.errorf("take", err)
}

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
	gen   *Generation
	name  string
	conn  liveConn     // nil for what came from the predecessor
	fd    *listener.FD // likewise the other way round
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
func (f *gift) Kept() { f.gen.gifts.put(f) }

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
		case errors.Is(err, listener.ErrNotConnected):
			f.close() // reset by its client meanwhile: as if it had never come
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
