package handoff

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// resource is a named descriptor: a listener, a packet socket or a file.
type resource struct {
	item  wire.Item         // what the manifest says of it
	sock  listener.Pausable // nil for a file, and for what nobody has claimed
	fd    *listener.FD      // a file, or what nobody has claimed
	addr  net.Addr          // nil for a file
	offer int               // its place in the predecessor's offer; -1 if it did not come from there
	fresh bool              // bound here, and owned by nobody else since, or never again; guarded by Generation.mu

	log *slog.Logger // nil for what nobody has claimed

	backlog int // of a listener, when it was bound, inherited or listened on here; 0 if unknown
	kept    int // the same, when it was last offered or owned

	lc      *net.ListenConfig            // what the program asked for; nil for a file
	listen  func() (net.Listener, error) // binds a listener's address again
	retired bool                         // closed because the successor did not ask for it
}

func (r *resource) inherited() bool { return r.offer >= 0 }

func (r *resource) address() string {
	if r.addr == nil {
		return ""
	}
	return r.addr.String()
}

// conn is r's descriptor, to describe or send.
func (r *resource) conn() syscall.Conn {
	if r.sock != nil {
		return r.sock
	}
	return r.fd
}

// giveUp closes what r holds. Only who owns a Unix path removes it.
func (r *resource) giveUp(owner bool) {
	switch {
	case r.sock == nil:
		_ = r.fd.Close()
	case owner:
		_ = r.close()
	default:
		_ = r.sock.Discard()
	}
}

// errReplaced says why a path is left.
var errReplaced = errors.New("another socket is there by now, which this service did not bind")

// stays says why the path of r is left behind when its socket is closed; nil if it is not.
func (r *resource) stays() error {
	u := r.item.Unlink
	if u == nil || !r.sock.UnlinkOnClose() {
		return nil
	}
	now, err := listener.StatUnixPath(u.Path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err == nil && (now.Dev != u.Dev || now.Ino != u.Ino):
		return errReplaced
	}
	return err
}

// close closes a socket as its owner, and so removes its path.
func (r *resource) close() error { return r.unlinked(r.stays(), r.sock.Close()) }

// unlink removes the path of a listener that is about to be closed, while the socket holds on to its inode. That is not
// done a second time; rebind allows it again.
func (r *resource) unlink() {
	if l, ok := r.sock.(*listener.Listener); ok {
		_ = r.unlinked(r.stays(), l.Unlink())
		r.item.UnlinkOnClose = l.UnlinkOnClose()
		l.SetUnlinkOnClose(false)
	}
}

// unlinked logs that a path was left behind, because of what stays said before, or of err, which it returns.
func (r *resource) unlinked(why, err error) error {
	if fileErr := (*os.PathError)(nil); why == nil && errors.As(err, &fileErr) {
		why = err
	}
	if why != nil && !errors.Is(err, net.ErrClosed) {
		r.log.Warn("a path was left behind", "name", r.item.Name, "path", r.item.Unlink.Path, "error", why)
	}
	return err
}

// options are what net.FileListener forgets, and so travels in the manifest.
func (r *resource) options() listener.Options {
	o := listener.Options{KeepAlive: r.item.KeepAlive, Unlink: (*listener.UnixPath)(r.item.Unlink)}
	if k := r.item.KeepAliveConfig; k != nil {
		o.KeepAliveConfig = net.KeepAliveConfig(*k)
	}
	return o
}

// sharedListener is a listener that a generation hands over. Closing it withdraws it.
type sharedListener struct {
	*listener.Listener
	gen *Generation
	res *resource
}

func (l *sharedListener) Close() error { return l.gen.withdraw(l.res) }

// Register is part of live.Registrar, by which package serve finds that connections of this listener can move.
func (l *sharedListener) Register(protocol string, s live.Server) (unregister func()) {
	return l.gen.conns.Exchange.Register(live.Key{Socket: l.res, Protocol: protocol}, s)
}

// sharedUDP and sharedUnixgram are the same for packet sockets. They keep the methods of *net.UDPConn and *net.UnixConn,
// which programs find by interface assertion.
type sharedUDP struct {
	*listener.UDPConn
	gen *Generation
	res *resource
}

func (c *sharedUDP) Close() error { return c.gen.withdraw(c.res) }

type sharedUnixgram struct {
	*listener.UnixgramConn
	gen *Generation
	res *resource
}

func (c *sharedUnixgram) Close() error { return c.gen.withdraw(c.res) }

// withdraw closes a socket at the program's wish. A second call gives the error that net gives.
func (g *Generation) withdraw(r *resource) error {
	g.mu.Lock()
	owner, tell := g.phase.owner() || r.fresh, false
	for i, c := range g.claimed {
		if c == r {
			g.claimed = append(g.claimed[:i:i], g.claimed[i+1:]...)
			g.changes++
			tell = g.phase.owner() && r.inherited()
			break
		}
	}
	g.mu.Unlock()
	if tell {
		g.sendDrop(r.offer)
	}
	if owner {
		return r.close()
	}
	return r.sock.Discard()
}

func checkName(name string) error {
	if len(name) == 0 || len(name) > wire.MaxName || !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("name %.32q: must have 1 to %d bytes of UTF-8 without NUL", name, wire.MaxName)
	}
	return nil
}

func checkItem(i wire.Item) error {
	if err := checkName(i.Name); err != nil {
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
