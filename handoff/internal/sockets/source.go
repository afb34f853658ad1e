package sockets

import (
	"context"
	"fmt"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// Source is what a Set asks for sockets that the predecessor does not have, before it binds them: see handoff.Source.
type Source interface {
	Open(ctx context.Context, name, network, address string) (*listener.FD, error)
	UnixPath(fd *listener.FD) *listener.UnixPath
	Return(fd *listener.FD)
}

// given is a descriptor that came from a Source. It is kept until it is sure that its copy can be used.
type given struct {
	by Source
	fd *listener.FD
}

// askSources notes in o what the first source gives that has such a socket. It reports whether one has.
func (s *Set) askSources(ctx context.Context, o *Socket) (has bool, err error) {
	for _, source := range s.Sources {
		fd, err := source.Open(ctx, o.item.Name, o.item.Network, o.item.Address)
		if err != nil {
			if s, ok := source.(fmt.Stringer); ok {
				return false, fmt.Errorf("%s: %w", s, err)
			}
			return false, fmt.Errorf("source %T: %w", source, err)
		}
		if fd == nil {
			continue
		}
		o.item.Unlink = (*wire.Unlink)(source.UnixPath(fd))
		o.item.UnlinkOnClose = o.item.Unlink != nil
		o.given = &given{by: source, fd: fd}
		return true, nil
	}
	return false, nil
}

// adoptGiven makes o of what a Source gave.
func (s *Set) adoptGiven(o *Socket, adopt func(*listener.FD) error) error {
	fd, err := listener.Dup(o.given.fd)
	if err == nil {
		if err = adopt(fd); err != nil {
			_ = fd.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("%s from a source: %w", o.item.Name, err)
	}
	s.tellControl(o)
	return nil
}

// keep lets go of the descriptor, whose copy is used.
func (g *given) keep() {
	if g != nil {
		_ = g.fd.Close()
	}
}

// giveBack gives the descriptor back.
func (g *given) giveBack() {
	if g != nil {
		g.by.Return(g.fd)
	}
}
