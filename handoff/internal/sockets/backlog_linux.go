package sockets

import (
	"errors"
	"math"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/sockdiag"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// The length of an accept queue is set by listen(2), which the kernel takes again from anybody who has the socket: it then
// changes the length, and for a Unix socket also whom its clients see at the other end (SO_PEERCRED). It cuts the length
// to net.core.somaxconn of the socket's network namespace (__sys_listen in net/socket.c), which may have changed since the
// socket was bound. So each owner listens again on what segue has bound. Not on what came from a Source, nor on what the
// program has listened on itself, as the length says: it is the program's then.

// longest is more than any somaxconn.
const longest = math.MaxInt32

// noteBacklog remembers how long o's queue may be, to see whether somebody changes that.
func (o *Socket) noteBacklog() {
	if o.item.Kind == wire.KindListener {
		o.backlog = backlogOf(o.sock)
	}
}

// offerBacklog says whether a successor may listen again, and remembers what RestoreBacklogs has to bring back.
func (o *Socket) offerBacklog() bool {
	if o.item.Kind != wire.KindListener {
		return false
	}
	o.kept = backlogOf(o.sock)
	return o.ours()
}

// ours reports whether segue has bound o, and nobody has listened on it since: its length is as noted, as far as one can
// tell.
func (o *Socket) ours() bool {
	return o.item.Bound && (o.kept == o.backlog || o.kept == 0 || o.backlog == 0)
}

// ListenAgain is for a successor that has just become the owner, and serves already.
func (s *Set) ListenAgain() {
	for _, o := range s.All() {
		if _, inherited := o.Place(); inherited && o.item.Bound {
			if o.kept = backlogOf(o.sock); o.ours() {
				s.listenOn(o, longest)
				o.noteBacklog()
			}
		}
	}
}

// RestoreBacklogs is for who serves on. Its successor's program may have listened on what it prepared; and if it owned,
// segue has done so there, with the credentials of a process that is gone.
func (m *Manifest) RestoreBacklogs(owned bool) {
	for i, o := range m.sockets {
		switch {
		case o.item.Kind != wire.KindListener || o.retired || i >= len(m.claimed) && owned:
		case owned && m.claimed[i] && o.ours():
			m.set.listenOn(o, longest)
			o.noteBacklog()
		case o.kept != 0 && o.kept != backlogOf(o.sock):
			m.set.listenOn(o, o.kept)
		}
	}
}

func (s *Set) listenOn(o *Socket, n int) {
	raw, err := o.sock.SyscallConn()
	if err == nil {
		var inner error
		err = raw.Control(func(fd uintptr) { inner = os.NewSyscallError("listen", unix.Listen(int(fd), n)) })
		err = errors.Join(err, inner)
	}
	if err != nil && !errors.Is(err, net.ErrClosed) {
		s.Log.Warn("the accept queue keeps its length", "name", o.item.Name, "error", err)
	}
}

// backlogOf returns how many connections may wait in the queue of a listener; 0 if that is not known.
func backlogOf(s listener.Pausable) (n int) {
	raw, err := s.SyscallConn()
	if err != nil {
		return 0
	}
	var info *unix.TCPInfo // first, since most are of TCP, and then it is one system call
	_ = raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	switch {
	case err == nil && info != nil && info.State == unix.BPF_TCP_LISTEN:
		return int(info.Sacked) // of a listening socket, the length of its queue (tcp_get_info in net/ipv4/tcp.c)
	case err == nil:
		return 0
	}
	i, err := listener.Describe(s)
	if err != nil || !i.Listening || i.Network == "tcp" {
		return 0
	}
	if n, err = sockdiag.Backlog(uint32(i.Ino)); err != nil {
		return 0
	}
	return n
}
