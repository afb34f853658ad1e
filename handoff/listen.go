package handoff

import (
	"context"
	"net"
	"os"

	"github.com/segue-go/segue/handoff/internal/driver"
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
	s, err := g.driver.Claim(func() (*sockets.Socket, error) { return g.driver.Sockets.Listen(ctx, name, network, address, lc) })
	if err != nil {
		return nil, g.errorf("listen", err)
	}
	return &sharedListener{Listener: s.Pausable().(*listener.Listener), driver: g.driver, socket: s}, nil
}

// ListenPacketAs is ListenAs for udp and unixgram networks. Reads block as Accept does; writes are always free, so that
// a superseded generation can answer what it has read. The result has the methods of *net.UDPConn or *net.UnixConn.
// A protocol that keeps connections over UDP, such as QUIC, loses those that it has: their datagrams go to the successor,
// which does not know them.
func (g *Generation) ListenPacketAs(ctx context.Context, name, network, address string, lc *net.ListenConfig) (net.PacketConn, error) {
	if lc == nil {
		lc = &g.cfg.ListenConfig
	}
	s, err := g.driver.Claim(func() (*sockets.Socket, error) { return g.driver.Sockets.ListenPacket(ctx, name, network, address, lc) })
	if err != nil {
		return nil, g.errorf("listen", err)
	}
	switch c := s.Pausable().(type) {
	case *listener.UDPConn:
		return &sharedUDP{UDPConn: c, driver: g.driver, socket: s}, nil
	case *listener.UnixgramConn:
		return &sharedUnixgram{UnixgramConn: c, driver: g.driver, socket: s}, nil
	default:
		_ = g.driver.Withdraw(s)
		return nil, g.errorf("listen", net.UnknownNetworkError(network))
	}
}

// File hands over an open file: a successor gets the predecessor's open file description, offset and status flags
// included (dup(2)), anyone else what open returns. The file is the caller's to close; the generation keeps a copy of its
// own, which is handed on whether or not the caller has closed its own.
func (g *Generation) File(ctx context.Context, name string, open func() (*os.File, error)) (*os.File, error) {
	var f *os.File
	_, err := g.driver.Claim(func() (s *sockets.Socket, err error) {
		s, f, err = g.driver.Sockets.File(ctx, name, open)
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

// sharedListener is a listener that a generation hands over. Closing it withdraws it.
type sharedListener struct {
	*listener.Listener
	driver *driver.Driver
	socket *sockets.Socket
}

func (l *sharedListener) Close() error { return l.driver.Withdraw(l.socket) }

// Register is part of live.Registrar, by which package serve finds that connections of this listener can move.
func (l *sharedListener) Register(protocol string, s live.Server) (unregister func()) {
	return l.driver.Conns.Exchange.Register(live.Key{Socket: l.socket, Protocol: protocol}, s)
}

// sharedUDP and sharedUnixgram are the same for packet sockets. They keep the methods of *net.UDPConn and *net.UnixConn,
// which programs find by interface assertion.
type sharedUDP struct {
	*listener.UDPConn
	driver *driver.Driver
	socket *sockets.Socket
}

func (c *sharedUDP) Close() error { return c.driver.Withdraw(c.socket) }

type sharedUnixgram struct {
	*listener.UnixgramConn
	driver *driver.Driver
	socket *sockets.Socket
}

func (c *sharedUnixgram) Close() error { return c.driver.Withdraw(c.socket) }
