package handoff

import (
	"context"
	"fmt"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// Source has sockets for a generation that has no predecessor, or more sockets than its predecessor: those of a
// supervisor, or of a process that knows nothing of segue. [Config].Sources are asked in order.
type Source interface {
	// Open gives the caller a descriptor for what the program asks [Generation.ListenAs] or ListenPacketAs for, or nil if
	// the source has none (more). It is called once for each socket that did not come from the predecessor, before it
	// would be bound afresh. An error fails the Listen.
	Open(ctx context.Context, name, network, address string) (*listener.FD, error)

	// Phase is told of each change of phase, before anything else happens in the new one. It must be quick, and must not
	// call the Generation's methods.
	Phase(from, to Phase)
}

// openSource asks the sources for a socket.
func (g *Generation) openSource(ctx context.Context, r *resource) (*listener.FD, error) {
	for _, s := range g.cfg.Sources {
		fd, err := s.Open(ctx, r.item.Name, r.item.Network, r.item.Address)
		if err != nil {
			return nil, fmt.Errorf("source %T: %w", s, err)
		}
		if fd != nil {
			// process.Rescue knows which file the bind of a Unix socket has made. Other sources keep theirs.
			if s, ok := s.(interface {
				UnixPath(*listener.FD) *listener.UnixPath
			}); ok {
				r.item.Unlink = (*wire.Unlink)(s.UnixPath(fd))
				r.item.UnlinkOnClose = r.item.Unlink != nil
			}
			return fd, nil
		}
	}
	return nil, nil
}
