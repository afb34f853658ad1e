package sockets

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// Socket is a named descriptor: a listener, a packet socket or a file. What changes in it after it was added to a [Set] is
// changed by one goroutine at a time: the driver of the handover, which may leave opening to another one.
type Socket struct {
	item  wire.Item         // what the manifest says of it
	sock  listener.Pausable // nil for a file, and for what nobody has claimed
	fd    *listener.FD      // a file, or what nobody has claimed
	addr  net.Addr          // nil for a file
	place int               // in the predecessor's offer; -1 if it did not come from there
	sole  atomic.Bool       // bound here, and had by nobody else since, or never again

	log   *slog.Logger // nil for what nobody has claimed
	given *given       // what a Source gave, until the socket is added; nil if none did

	backlog int // of a listener, when it was bound, inherited or listened on here; 0 if unknown
	kept    int // the same, when it was last offered or owned

	lc      *net.ListenConfig                           // what the program asked for; nil for a file
	listen  func(context.Context) (net.Listener, error) // binds a listener's address again
	renew   func() error                                // called before it opens again; nil: there is nothing to do
	opened  func(*Socket)                               // see Set; nil: nobody is told
	closed  func(*Socket)
	retired bool // closed because the successor did not ask for it
}

// Rendezvous makes a socket of fd, which it takes: the one on which successors are awaited. It is not in a Set. place is that in
// the predecessor's offer, or -1 if it was bound here, at item.Name. renew is called each time that it opens again after an
// attempt to hand over has failed.
func Rendezvous(log *slog.Logger, fd *listener.FD, item wire.Item, place int, renew func(syscall.Conn) error) (*Socket, error) {
	o := &Socket{log: log, item: item, place: place}
	o.sole.Store(place < 0)
	l, err := o.adoptRendezvous(fd)
	if err != nil {
		_ = fd.Close()
		return nil, err
	}
	l.SetUnlinkOnClose(true)
	o.sock, o.addr = l, l.Addr()
	o.renew = func() error { return renew(l) }
	return o, nil
}

func (o *Socket) adoptRendezvous(fd *listener.FD) (*listener.Listener, error) {
	if o.Sole() {
		p, err := listener.StatUnixPath(o.item.Name)
		if err != nil {
			return nil, err
		}
		o.item.Unlink = (*wire.Unlink)(p)
	}
	return listener.FromFD(fd, o.options())
}

// Name is the one under which it is handed over.
func (o *Socket) Name() string { return o.item.Name }

// Kind is one of those of package wire.
func (o *Socket) Kind() string { return o.item.Kind }

// Network is the one that the program asked for; "" for a file.
func (o *Socket) Network() string { return o.item.Network }

// Address is as bound, so with the port that the kernel chose; "" for a file.
func (o *Socket) Address() string {
	if o.addr == nil {
		return ""
	}
	return o.addr.String()
}

// Asked is the address that the program asked for; "" for a file.
func (o *Socket) Asked() string { return o.item.Address }

// Place is where it was in the predecessor's offer, if it came from there.
func (o *Socket) Place() (place int, inherited bool) { return o.place, o.place >= 0 }

// Sole reports whether it was bound here, and nobody else has had it since, or will again. Closing it removes its path.
func (o *Socket) Sole() bool { return o.sole.Load() }

// File is the file that the bind of a Unix socket made; nil if there is none, or it is not known.
func (o *Socket) File() *wire.Unlink { return o.item.Unlink }

// Pausable is the socket itself; nil for a file.
func (o *Socket) Pausable() listener.Pausable { return o.sock }

// SyscallConn is for who describes or sends it.
func (o *Socket) SyscallConn() (syscall.RawConn, error) {
	if o.sock != nil {
		return o.sock.SyscallConn()
	}
	return o.fd.SyscallConn()
}

// CloseAs closes what o holds. Only the owner of a Unix socket removes its path. A second call gives the error that net gives.
func (o *Socket) CloseAs(owner bool) error {
	switch {
	case o.sock == nil:
		return o.fd.Close()
	case owner:
		return o.unlinked(o.stays(), o.sock.Close())
	default:
		return o.sock.Discard()
	}
}

// LeavePath has the path of a Unix socket stay when o is closed.
func (o *Socket) LeavePath() {
	if o.sock != nil {
		o.sock.SetUnlinkOnClose(false)
	}
}

// errReplaced says why a path is left.
var errReplaced = errors.New("another socket is there by now, which this service did not bind")

// stays says why the path of o is left behind when its socket is closed; nil if it is not.
func (o *Socket) stays() error {
	u := o.item.Unlink
	if u == nil || !o.sock.UnlinkOnClose() {
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

// unlink removes the path of a listener that is about to be closed, while the socket holds on to its inode. That is not
// done a second time; rebind allows it again.
func (o *Socket) unlink() {
	if l, ok := o.sock.(*listener.Listener); ok {
		_ = o.unlinked(o.stays(), l.Unlink())
		o.item.UnlinkOnClose = l.UnlinkOnClose()
		l.SetUnlinkOnClose(false)
	}
}

// unlinked logs that a path was left behind, because of what stays said before, or of err, which it returns.
func (o *Socket) unlinked(why, err error) error {
	if fileErr := (*os.PathError)(nil); why == nil && errors.As(err, &fileErr) {
		why = err
	}
	if why != nil && !errors.Is(err, net.ErrClosed) {
		o.log.Warn("a path was left behind", "name", o.item.Name, "path", o.item.Unlink.Path, "error", why)
	}
	return err
}

// options are what net.FileListener forgets, and so travels in the manifest.
func (o *Socket) options() listener.Options {
	opts := listener.Options{KeepAlive: o.item.KeepAlive, Unlink: (*listener.UnixPath)(o.item.Unlink)}
	if k := o.item.KeepAliveConfig; k != nil {
		opts.KeepAliveConfig = net.KeepAliveConfig(*k)
	}
	return opts
}
