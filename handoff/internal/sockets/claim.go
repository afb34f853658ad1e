package sockets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// Listen returns the listener that the predecessor, or a Source, has under this name, network and address, or binds it. Add or
// Abandon must follow, and so for ListenPacket and File.
func (s *Set) Listen(ctx context.Context, name, network, address string, lc *net.ListenConfig) (*Socket, error) {
	o := &Socket{item: wire.Item{Name: name, Kind: wire.KindListener, Network: network, Address: address}, lc: lc}
	o.listen = func(ctx context.Context) (net.Listener, error) { return lc.Listen(ctx, network, o.addr.String()) }
	return s.claim(ctx, o, func() error {
		l, err := lc.Listen(ctx, network, address)
		if err != nil {
			return err
		}
		o.item.Unlink = boundPath(l.Addr())
		o.item.UnlinkOnClose = o.item.Unlink != nil
		o.item.Bound = true
		keepAlive(&o.item, lc)
		sock, err := listener.New(l, o.options())
		if err != nil {
			_ = l.Close()
			return err
		}
		o.sock, o.addr = sock, l.Addr()
		return nil
	}, func(fd *listener.FD) error {
		if lc.KeepAlive != 0 || lc.KeepAliveConfig != (net.KeepAliveConfig{}) {
			keepAlive(&o.item, lc)
		}
		sock, err := listener.FromFD(fd, o.options())
		if err != nil {
			return err
		}
		o.sock, o.addr = sock, sock.Addr()
		return nil
	})
}

// ListenPacket is Listen for packet sockets.
func (s *Set) ListenPacket(ctx context.Context, name, network, address string, lc *net.ListenConfig) (*Socket, error) {
	o := &Socket{item: wire.Item{Name: name, Kind: wire.KindPacket, Network: network, Address: address}, lc: lc}
	return s.claim(ctx, o, func() error {
		c, err := lc.ListenPacket(ctx, network, address)
		if err != nil {
			return err
		}
		o.item.Unlink = boundPath(c.LocalAddr())
		o.item.UnlinkOnClose = o.item.Unlink != nil
		sock, err := listener.NewPacket(c, o.options())
		if err != nil {
			_ = c.Close()
			return err
		}
		o.sock, o.addr = sock, c.LocalAddr()
		return nil
	}, func(fd *listener.FD) error {
		sock, err := listener.PacketFromFD(fd, o.options())
		if err != nil {
			return err
		}
		o.sock, o.addr = sock, sock.LocalAddr()
		return nil
	})
}

// File returns the file that the predecessor has under this name, or opens it. The program's own copy is the caller's.
func (s *Set) File(ctx context.Context, name string, open func() (*os.File, error)) (o *Socket, program *os.File, err error) {
	o = &Socket{item: wire.Item{Name: name, Kind: wire.KindFile}}
	o, err = s.claim(ctx, o, func() error {
		f, err := open()
		if err != nil {
			return err
		}
		// Where nothing is handed over, nothing has to be kept.
		if o.fd, err = listener.Dup(f); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			_ = f.Close()
			return err
		}
		program = f
		return nil
	}, func(fd *listener.FD) error {
		own, err := listener.Dup(fd)
		if err != nil {
			return err
		}
		o.fd, program = fd, own.File(name)
		return nil
	})
	return o, program, err
}

// claim finds o among what the predecessor offered, or what a Source has, or binds it. bind and adopt give it its socket: a fresh
// one, or that of a descriptor, which adopt takes unless it fails.
func (s *Set) claim(ctx context.Context, o *Socket, bind func() error, adopt func(*listener.FD) error) (*Socket, error) {
	o.log, o.place = s.Log, -1
	o.opened, o.closed = s.Opened, s.Closed
	if err := checkItem(o.item); err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := s.find(ctx, o, bind, adopt); err != nil {
		o.given.giveBack()
		return nil, err
	}
	if o.sock != nil {
		o.sock.SetUnlinkOnClose(o.item.UnlinkOnClose)
		o.noteBacklog()
	}
	return o, nil
}

// find gives o its socket.
func (s *Set) find(ctx context.Context, o *Socket, bind func() error, adopt func(*listener.FD) error) error {
	if found, ok := s.takeUnclaimed(func(i wire.Item) bool { return i.Name == o.item.Name && sameSocket(i, o.item) }); ok {
		return s.inherit(o, found, adopt)
	}
	if has, err := s.askSources(ctx, o); err != nil {
		return err
	} else if has {
		return s.adoptGiven(o, adopt)
	}
	o.sole.Store(true)
	err := bind()
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	// Is it the predecessor's, under another name? Or the path of one that is no more?
	if found, ok := s.takeUnclaimed(func(i wire.Item) bool { return sameSocket(i, o.item) }); ok {
		return s.inherit(o, found, adopt)
	}
	if s.removeStale(ctx, o.item) {
		err = bind()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return s.inUse(err)
	}
	return err
}

// inherit makes o of what the predecessor offered.
func (s *Set) inherit(o, found *Socket, adopt func(*listener.FD) error) error {
	name := o.item.Name
	o.item, o.place = found.item, found.place
	o.item.Name = name
	o.sole.Store(false)
	if err := adopt(found.fd); err != nil {
		s.mu.Lock()
		s.unclaimed = append(s.unclaimed, found) // it stays the predecessor's
		s.mu.Unlock()
		return fmt.Errorf("inherited %s: %w", name, err)
	}
	s.tellBirth(o)
	return nil
}

// InUseError is an EADDRINUSE. Most likely the socket is one that the predecessor has, in other words, if it has any that
// nobody asked for.
type InUseError struct {
	Err       error
	Unclaimed []string // what the predecessor has
}

func (e *InUseError) Error() string {
	if len(e.Unclaimed) == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("%v; if it is one of these of the predecessor, ask for it in the same words: %s", e.Err, strings.Join(e.Unclaimed, ", "))
}

func (e *InUseError) Unwrap() error { return e.Err }

func (s *Set) inUse(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &InUseError{Err: err}
	for _, o := range s.unclaimed {
		e.Unclaimed = append(e.Unclaimed, fmt.Sprintf("%q (%s %s)", o.item.Name, o.item.Network, o.item.Address))
	}
	return e
}

// takeUnclaimed removes the first socket that the predecessor offered and that matches, and gives it to the caller.
func (s *Set) takeUnclaimed(match func(wire.Item) bool) (*Socket, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.unclaimed, func(o *Socket) bool { return match(o.item) })
	if s.sealed || i < 0 {
		return nil, false
	}
	found := s.unclaimed[i]
	s.unclaimed = slices.Delete(slices.Clone(s.unclaimed), i, i+1)
	return found, true
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
func (s *Set) removeStale(ctx context.Context, i wire.Item) bool {
	switch i.Network {
	case "unix", "unixpacket", "unixgram":
	default:
		return false
	}
	removed := false
	lock := s.Lock
	if lock == nil {
		lock = func(_ context.Context, f func() error) error { return f() }
	}
	err := lock(ctx, func() error {
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
		s.Log.Debug("a path in use was looked at", "path", i.Address, "error", err)
	}
	return removed && err == nil
}

// CheckName refuses what cannot be a name of anything that is handed over.
func CheckName(name string) error {
	if len(name) == 0 || len(name) > wire.MaxName || !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("name %.32q: must have 1 to %d bytes of UTF-8 without NUL", name, wire.MaxName)
	}
	return nil
}

func checkItem(i wire.Item) error {
	if err := CheckName(i.Name); err != nil {
		return err
	}
	if len(i.Address) > wire.MaxAddress {
		return fmt.Errorf("address %.32q: must have at most %d bytes", i.Address, wire.MaxAddress)
	}
	if i.Kind != wire.KindFile && i.Network == "" {
		return net.UnknownNetworkError(i.Network) // as package net says it
	}
	// What cannot be offered is refused now, not at the first upgrade.
	if _, err := wire.Encode(&wire.Offer{Items: []wire.Item{i}}); err != nil {
		return err
	}
	return nil
}
