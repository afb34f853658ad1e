package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/segue-go/segue/handoff/internal/wire"
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
	r := &resource{log: g.log, offer: -1, item: wire.Item{Name: name, Kind: wire.KindListener, Network: network, Address: address}}
	if lc == nil {
		lc = &g.cfg.ListenConfig
	}
	bind := func() (listener.Pausable, net.Addr, error) {
		l, err := lc.Listen(ctx, network, address)
		if err != nil {
			return nil, nil, err
		}
		r.item.Unlink = boundPath(l.Addr())
		r.item.UnlinkOnClose = r.item.Unlink != nil
		r.item.Bound = true
		keepAlive(&r.item, lc)
		s, err := listener.New(l, r.options())
		if err != nil {
			_ = l.Close()
			return nil, nil, err
		}
		return s, l.Addr(), nil
	}
	adopt := func(fd *listener.FD) (listener.Pausable, net.Addr, error) {
		if lc.KeepAlive != 0 || lc.KeepAliveConfig != (net.KeepAliveConfig{}) {
			keepAlive(&r.item, lc)
		}
		s, err := listener.FromFD(fd, r.options())
		if err != nil {
			return nil, nil, err
		}
		return s, s.Addr(), nil
	}
	r.lc = lc
	r.listen = func() (net.Listener, error) { return lc.Listen(g.ctx, network, r.addr.String()) }
	if err := g.claim(ctx, r, bind, adopt); err != nil {
		return nil, g.errorf("listen", err)
	}
	return &sharedListener{Listener: r.sock.(*listener.Listener), gen: g, res: r}, nil
}

// ListenPacketAs is ListenAs for udp and unixgram networks. Reads block as Accept does; writes are always free, so that
// a superseded generation can answer what it has read. The result has the methods of *net.UDPConn or *net.UnixConn.
// A protocol that keeps connections over UDP, such as QUIC, loses those that it has: their datagrams go to the successor,
// which does not know them.
func (g *Generation) ListenPacketAs(ctx context.Context, name, network, address string, lc *net.ListenConfig) (net.PacketConn, error) {
	r := &resource{log: g.log, offer: -1, item: wire.Item{Name: name, Kind: wire.KindPacket, Network: network, Address: address}}
	if lc == nil {
		lc = &g.cfg.ListenConfig
	}
	bind := func() (listener.Pausable, net.Addr, error) {
		c, err := lc.ListenPacket(ctx, network, address)
		if err != nil {
			return nil, nil, err
		}
		r.item.Unlink = boundPath(c.LocalAddr())
		r.item.UnlinkOnClose = r.item.Unlink != nil
		s, err := listener.NewPacket(c, r.options())
		if err != nil {
			_ = c.Close()
			return nil, nil, err
		}
		return s, c.LocalAddr(), nil
	}
	adopt := func(fd *listener.FD) (listener.Pausable, net.Addr, error) {
		s, err := listener.PacketFromFD(fd, r.options())
		if err != nil {
			return nil, nil, err
		}
		return s, s.LocalAddr(), nil
	}
	r.lc = lc
	if err := g.claim(ctx, r, bind, adopt); err != nil {
		return nil, g.errorf("listen", err)
	}
	switch s := r.sock.(type) {
	case *listener.UDPConn:
		return &sharedUDP{UDPConn: s, gen: g, res: r}, nil
	case *listener.UnixgramConn:
		return &sharedUnixgram{UnixgramConn: s, gen: g, res: r}, nil
	default:
		_ = g.withdraw(r)
		return nil, g.errorf("listen", net.UnknownNetworkError(network))
	}
}

// File hands over an open file: a successor gets the predecessor's open file description, offset and status flags
// included (dup(2)), anyone else what open returns. The file is the caller's to close; the generation keeps a copy of its
// own, which is handed on whether or not the caller has closed its own.
func (g *Generation) File(ctx context.Context, name string, open func() (*os.File, error)) (*os.File, error) {
	r := &resource{log: g.log, offer: -1, item: wire.Item{Name: name, Kind: wire.KindFile}}
	var opened *os.File
	bind := func() (listener.Pausable, net.Addr, error) {
		f, err := open()
		if err != nil {
			return nil, nil, err
		}
		// Where nothing is handed over, nothing has to be kept.
		if r.fd, err = listener.Dup(f); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			_ = f.Close()
			return nil, nil, err
		}
		opened = f
		return nil, nil, nil
	}
	adopt := func(fd *listener.FD) (listener.Pausable, net.Addr, error) {
		own, err := listener.Dup(fd)
		if err != nil {
			return nil, nil, err
		}
		r.fd, opened = fd, own.File(name)
		return nil, nil, nil
	}
	if err := g.claim(ctx, r, bind, adopt); err != nil {
		if opened != nil {
			_ = opened.Close()
		}
		return nil, g.errorf("file", err)
	}
	return opened, nil
}

// binder and adopter give a resource its socket, by binding it or from a descriptor that it takes.
type (
	binder  func() (listener.Pausable, net.Addr, error)
	adopter func(*listener.FD) (listener.Pausable, net.Addr, error)
)

// claim finds r among what the predecessor offered, or binds it, and opens it if this generation owns.
func (g *Generation) claim(ctx context.Context, r *resource, bind binder, adopt adopter) error {
	err := g.findOrBind(ctx, r, bind, adopt)
	if err != nil {
		g.mu.Lock()
		g.refused = err
		g.mu.Unlock()
	}
	return err
}

func (g *Generation) findOrBind(ctx context.Context, r *resource, bind binder, adopt adopter) error {
	if err := checkItem(r.item); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := g.mayClaim(); err != nil {
		return err
	}
	found := g.takeOffered(func(o wire.Item) bool { return o.Name == r.item.Name && sameSocket(o, r.item) })
	var given *sourced
	var err error
	if found == nil {
		if given, err = g.openSource(ctx, r); err != nil {
			return err
		}
	}
	used := false
	defer func() { given.done(used) }()
	switch {
	case found != nil:
	case given != nil:
		if err := r.adoptSourced(given, adopt); err != nil {
			return fmt.Errorf("%s from a source: %w", r.item.Name, err)
		}
		g.tellControl(r)
	default:
		r.fresh = true
		r.sock, r.addr, err = bind()
		if errors.Is(err, syscall.EADDRINUSE) {
			// Is it the predecessor's, under another name? Or the path of one that is no more?
			if found = g.takeOffered(func(o wire.Item) bool { return sameSocket(o, r.item) }); found == nil && g.removeStale(ctx, r.item) {
				r.sock, r.addr, err = bind()
			}
		}
	}
	if found != nil {
		item := found.item
		item.Name = r.item.Name
		r.item, r.offer, r.fresh = item, found.offer, false
		fd := found.fd
		if r.sock, r.addr, err = adopt(fd); err != nil {
			g.mu.Lock()
			g.unclaimed = append(g.unclaimed, found) // it stays the predecessor's
			g.mu.Unlock()
			return fmt.Errorf("inherited %s: %w", r.item.Name, err)
		}
		g.tellBirth(r)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return g.inUse(err)
	}
	if err != nil {
		return err
	}
	if r.sock != nil {
		r.sock.SetUnlinkOnClose(r.item.UnlinkOnClose)
		r.noteBacklog()
	}
	err = g.admit(r)
	used = err == nil
	return err
}

// adoptSourced makes a socket of what a source gave.
func (r *resource) adoptSourced(given *sourced, adopt adopter) error {
	fd, err := given.copy()
	if err != nil {
		return err
	}
	if r.sock, r.addr, err = adopt(fd); err != nil {
		_ = fd.Close()
	}
	return err
}

// inUse adds to EADDRINUSE what the predecessor has that nobody asked for: most likely it is that, in other words.
func (g *Generation) inUse(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var names []string
	for _, r := range g.unclaimed {
		names = append(names, fmt.Sprintf("%q (%s %s)", r.item.Name, r.item.Network, r.item.Address))
	}
	if len(names) == 0 {
		return g.maybeUnreachable(err)
	}
	return fmt.Errorf("%w; if it is one of these of the predecessor, ask for it in the same words: %s", err, strings.Join(names, ", "))
}

// admit adds r to what this generation has.
func (g *Generation) admit(r *resource) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.mayClaimLocked(); err != nil {
		r.giveUp(r.fresh)
		return err
	}
	// Under the lock, so that a switch that begins now finds it either open or not there.
	if g.phase.owner() && r.sock != nil {
		if err := r.sock.Open(); err != nil {
			r.giveUp(r.fresh)
			return err
		}
	}
	g.claimed = append(g.claimed, r)
	g.changes++
	return nil
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

// takeOffered removes the first offered resource that matches, and gives it to the caller.
func (g *Generation) takeOffered(match func(wire.Item) bool) *resource {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sealed {
		return nil
	}
	for i, r := range g.unclaimed {
		if match(r.item) {
			g.unclaimed = append(g.unclaimed[:i:i], g.unclaimed[i+1:]...)
			return r
		}
	}
	return nil
}

func sameSocket(a, b wire.Item) bool {
	return a.Kind == b.Kind && a.Network == b.Network && a.Address == b.Address
}

func keepAlive(i *wire.Item, lc *net.ListenConfig) {
	i.KeepAlive = lc.KeepAlive
	i.KeepAliveConfig = nil
	if k := wire.KeepAliveConfig(lc.KeepAliveConfig); k != (wire.KeepAliveConfig{}) {
		i.KeepAliveConfig = &k
	}
}

// boundPath records which file a bind has made; nil for anything but a Unix socket with a path.
func boundPath(a net.Addr) *wire.Unlink {
	u, ok := a.(*net.UnixAddr)
	if !ok || u.Name == "" || strings.HasPrefix(u.Name, "@") {
		return nil
	}
	p, err := listener.StatUnixPath(u.Name)
	if err != nil {
		return nil // somebody was quicker to remove it; then it is not ours to remove
	}
	return (*wire.Unlink)(p)
}

// removeStale removes a Unix socket's path on which nobody listens: a process that was killed leaves it behind, and
// programs that listen through segue cannot remove it themselves, since it might be their predecessor's.
func (g *Generation) removeStale(ctx context.Context, i wire.Item) bool {
	switch i.Network {
	case "unix", "unixpacket", "unixgram":
	default:
		return false
	}
	removed := false
	err := g.withLock(ctx, func() error {
		before, err := os.Lstat(i.Address)
		if err != nil || before.Mode().Type() != os.ModeSocket {
			return err
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, i.Network, i.Address)
		if err == nil {
			return c.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		now, err := os.Lstat(i.Address)
		if err != nil || !os.SameFile(before, now) {
			return err
		}
		removed = true
		return os.Remove(i.Address)
	})
	if err != nil {
		g.log.Debug("a path in use was looked at", "path", i.Address, "error", err)
	}
	return removed && err == nil
}
