package handoff

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/listener"
)

// Listen is [net.ListenConfig.Listen] with Config.ListenConfig, for tcp, unix and unixpacket networks: a successor gets
// the predecessor's socket, anyone else a fresh one. It is ListenAs with the name network + "/" + address, both as
// given: a successor that asks for "127.0.0.1:0" gets the predecessor's port.
func (g *Generation) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return g.ListenAs(ctx, network+"/"+address, network, address, nil)
}

// ListenPacket is [net.ListenConfig.ListenPacket] in the same way, for udp and unixgram networks.
func (g *Generation) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return g.ListenPacketAs(ctx, network+"/"+address, network, address, nil)
}

// ListenAs listens under a name that outlives changes of the address. Several sockets may have one name, as in an
// SO_REUSEPORT group: the n-th call gets the n-th of the predecessor's sockets that has this name, network and address,
// and a fresh one when there is none left. A listener of the predecessor that nobody asks for is closed, its queue emptied
// first, once the successor has confirmed; a packet socket is served by the predecessor until that is done. A nil lc means
// Config.ListenConfig.
//
// The accept queue of a listener that was bound by this method is as long as net.core.somaxconn allows, from Ready on: each
// owner calls listen(2) again. A program that wants another length calls listen(2) itself (SyscallConn) between this call and
// Ready; it is left so from then on. What else only a bind can set, such as what lc.Control sets, an existing socket keeps: set
// by SyscallConn what can be set later. See [Config].ListenConfig.
//
// A fresh socket that joins an SO_REUSEPORT group gets its share of the clients from the moment it is bound, and serves them
// only from Ready: a successor that adds members should do so shortly before.
//
// The listener's Accept blocks until this generation owns the sockets, and again while it is superseded; it gives
// [net.ErrClosed] after Close, or when Wait has returned nil. Accepted connections are genuine *net.TCPConn and
// *net.UnixConn. The listener may be closed at any time; its successor then inherits it no more. A Unix socket's path is
// removed by whoever closes it as its owner. A path on which nobody listens any more is bound anew.
func (g *Generation) ListenAs(ctx context.Context, name, network, address string, lc *net.ListenConfig) (net.Listener, error) {
	if lc == nil {
		lc = &g.cfg.ListenConfig
	}
	s, err := g.claim(func() (*sockets.Socket, error) { return g.sockets.Listen(ctx, name, network, address, lc) })
	if err != nil {
		return nil, g.errorf("listen", err)
	}
	return &sharedListener{Listener: s.Pausable().(*listener.Listener), gen: g, socket: s}, nil
}

// ListenPacketAs is ListenAs for udp and unixgram networks. Reads block as Accept does; writes are always free, so that
// a superseded generation can answer what it has read. The result has the methods of *net.UDPConn or *net.UnixConn.
// A protocol that keeps connections over UDP, such as QUIC, loses those that it has: their datagrams go to the successor,
// which does not know them.
func (g *Generation) ListenPacketAs(ctx context.Context, name, network, address string, lc *net.ListenConfig) (net.PacketConn, error) {
	if lc == nil {
		lc = &g.cfg.ListenConfig
	}
	s, err := g.claim(func() (*sockets.Socket, error) { return g.sockets.ListenPacket(ctx, name, network, address, lc) })
	if err != nil {
		return nil, g.errorf("listen", err)
	}
	switch c := s.Pausable().(type) {
	case *listener.UDPConn:
		return &sharedUDP{UDPConn: c, gen: g, socket: s}, nil
	case *listener.UnixgramConn:
		return &sharedUnixgram{UnixgramConn: c, gen: g, socket: s}, nil
	default:
		_ = g.withdraw(s)
		return nil, g.errorf("listen", net.UnknownNetworkError(network))
	}
}

// File hands over an open file: a successor gets the predecessor's open file description, offset and status flags
// included (dup(2)), anyone else what open returns. The file is the caller's to close; the generation keeps a copy of its
// own, which is handed on whether or not the caller has closed its own.
func (g *Generation) File(ctx context.Context, name string, open func() (*os.File, error)) (*os.File, error) {
	var f *os.File
	_, err := g.claim(func() (s *sockets.Socket, err error) {
		s, f, err = g.sockets.File(ctx, name, open)
		return s, err
	})
	if err != nil {
		if f != nil {
			_ = f.Close()
		}
		return nil, g.errorf("file", err)
	}
	return f, nil
}

// claim adds what find returns to what this generation has, and opens it if this generation owns.
func (g *Generation) claim(find func() (*sockets.Socket, error)) (*sockets.Socket, error) {
	s, err := g.findAndAdd(find)
	if err != nil {
		g.mu.Lock()
		g.refused = err
		g.mu.Unlock()
	}
	return s, err
}

func (g *Generation) findAndAdd(find func() (*sockets.Socket, error)) (*sockets.Socket, error) {
	if err := g.mayClaim(); err != nil {
		return nil, err
	}
	s, err := find()
	if inUse := (*sockets.InUseError)(nil); errors.As(err, &inUse) && len(inUse.Unclaimed) == 0 {
		err = g.maybeUnreachable(err)
	}
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	if err = g.mayClaimLocked(); err == nil { // no switch begins meanwhile
		err = g.sockets.Add(s, g.phase.owner())
	}
	g.mu.Unlock()
	if err != nil {
		g.sockets.Abandon(s)
		return nil, err
	}
	g.traceOpened(s)
	return s, nil
}

func (g *Generation) mayClaim() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mayClaimLocked()
}

func (g *Generation) mayClaimLocked() error {
	switch {
	case g.closing || g.phase == PhaseStopped:
		return g.closedLocked()
	case g.phase.owner(), g.phase == PhaseStarting:
		return nil
	default:
		return ErrNotOwner
	}
}

// sharedListener is a listener that a generation hands over. Closing it withdraws it.
type sharedListener struct {
	*listener.Listener
	gen    *Generation
	socket *sockets.Socket
}

func (l *sharedListener) Close() error { return l.gen.withdraw(l.socket) }

// Register is part of live.Registrar, by which package serve finds that connections of this listener can move.
func (l *sharedListener) Register(protocol string, s live.Server) (unregister func()) {
	return l.gen.conns.Exchange.Register(live.Key{Socket: l.socket, Protocol: protocol}, s)
}

// sharedUDP and sharedUnixgram are the same for packet sockets. They keep the methods of *net.UDPConn and *net.UnixConn,
// which programs find by interface assertion.
type sharedUDP struct {
	*listener.UDPConn
	gen    *Generation
	socket *sockets.Socket
}

func (c *sharedUDP) Close() error { return c.gen.withdraw(c.socket) }

type sharedUnixgram struct {
	*listener.UnixgramConn
	gen    *Generation
	socket *sockets.Socket
}

func (c *sharedUnixgram) Close() error { return c.gen.withdraw(c.socket) }

// withdraw closes a socket at the program's wish. A second call gives the error that net gives.
func (g *Generation) withdraw(s *sockets.Socket) error {
	g.mu.Lock() // no switch begins meanwhile
	owns := g.phase.owner()
	owner := owns || s.Sole()
	removed := g.sockets.Remove(s)
	g.mu.Unlock()
	if place, inherited := s.Place(); removed && inherited && owns {
		g.sendDrop(place)
	}
	if removed {
		g.traceClosed(s)
	}
	return s.CloseAs(owner)
}
