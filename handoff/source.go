package handoff

import (
	"context"
	"fmt"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// Source has sockets for a generation that has no predecessor, or more sockets than its predecessor: those of a
// supervisor, or of a process that knows nothing of segue. [Config].Sources are asked in order. The methods are called by
// several goroutines at once if the program listens in several, and Phase and Settled at any time.
type Source interface {
	// Open gives the caller a descriptor for what the program asks [Generation.ListenAs] or ListenPacketAs for, or nil if
	// the source has none (more). It is called once for each socket that did not come from the predecessor, before it
	// would be bound afresh. An error fails the Listen.
	Open(ctx context.Context, name, network, address string) (*listener.FD, error)

	// Phase is told of each change of phase, before anything else happens in the new one. It must be quick, and must not
	// call the Generation's methods.
	Phase(from, to Phase)
}

// Settler is a Source that wants to know when what it gave cannot go back any more: as long as a predecessor can be revived,
// which does not have it, whoever had it before must be able to go on.
type Settler interface {
	// Settled is called at most once, when the generation owns the sockets: at once if the generation has no predecessor, and
	// otherwise when that one has given up its guard, or is gone. It is not called if the generation hands back, or stops
	// before. It must be as quick as Phase.
	Settled()
}

// Returner is a Source that takes back what could not be used.
type Returner interface {
	// Return is called with a descriptor that Open gave if the Listen fails all the same. The Source owns it again.
	Return(fd *listener.FD)
}

// PathSource is a Source that knows which files the binds of its Unix sockets have made, so that they can be removed by
// the last generation that stops for good. The paths of others are left alone.
type PathSource interface {
	// UnixPath returns the file of a socket that Open gave, before anything else is done with it, or nil.
	UnixPath(fd *listener.FD) *listener.UnixPath
}

// sourced is a descriptor that came from a Source. It is kept until it is sure that its copy can be used.
type sourced struct {
	from Source
	fd   *listener.FD
}

// openSource asks the sources for a socket; nil if none of them has one.
func (g *Generation) openSource(ctx context.Context, r *resource) (*sourced, error) {
	for _, s := range g.cfg.Sources {
		fd, err := s.Open(ctx, r.item.Name, r.item.Network, r.item.Address)
		if err != nil {
			return nil, fmt.Errorf("source %T: %w", s, err)
		}
		if fd == nil {
			continue
		}
		if s, ok := s.(PathSource); ok {
			r.item.Unlink = (*wire.Unlink)(s.UnixPath(fd))
			r.item.UnlinkOnClose = r.item.Unlink != nil
		}
		return &sourced{from: s, fd: fd}, nil
	}
	return nil, nil
}

// copy returns a descriptor to work on.
func (s *sourced) copy() (*listener.FD, error) {
	// Only a Source that takes back is worth the descriptor, and listener.Dup is for Linux only.
	if _, ok := s.from.(Returner); !ok {
		fd := s.fd
		s.fd = nil
		return fd, nil
	}
	return listener.Dup(s.fd)
}

// done lets go of the descriptor: its copy is used, or it goes back.
func (s *sourced) done(used bool) {
	if s == nil || s.fd == nil {
		return
	}
	if used {
		_ = s.fd.Close()
		return
	}
	s.from.(Returner).Return(s.fd)
}

// settleSources tells the sources that nothing goes back to a predecessor any more, unless that is happening, or all ends.
func (g *Generation) settleSources() {
	g.mu.Lock()
	if g.settled || g.toPredecessor.HandedBack() || g.closing || g.phase == PhaseStopped {
		g.mu.Unlock()
		return
	}
	g.settled = true
	g.mu.Unlock()
	for _, s := range g.cfg.Sources {
		if s, ok := s.(Settler); ok {
			s.Settled()
		}
	}
}
