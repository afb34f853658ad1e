package handoff

import (
	"errors"
	"math"
	"net"
	"os"
	"slices"

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

// noteBacklog remembers how long r's queue may be, to see whether somebody changes that.
func (r *resource) noteBacklog() {
	if r.item.Kind == wire.KindListener {
		r.backlog = backlogOf(r.sock)
	}
}

// offerBacklog says whether a successor may listen again, and remembers what restoreBacklogs has to bring back.
func (r *resource) offerBacklog() bool {
	if r.item.Kind != wire.KindListener {
		return false
	}
	r.kept = backlogOf(r.sock)
	return r.ours()
}

// ours reports whether segue has bound r, and nobody has listened on it since: its length is as noted, as far as one can
// tell.
func (r *resource) ours() bool {
	return r.item.Bound && (r.kept == r.backlog || r.kept == 0 || r.backlog == 0)
}

// listenAgain is for a successor that has just become the owner, and serves already.
func (g *Generation) listenAgain() {
	g.mu.Lock()
	claimed := slices.Clone(g.claimed)
	g.mu.Unlock()
	for _, r := range claimed {
		if r.inherited() && r.item.Bound {
			if r.kept = backlogOf(r.sock); r.ours() {
				g.listenOn(r, longest)
				r.noteBacklog()
			}
		}
	}
}

// restoreBacklogs is for who serves on. Its successor's program may have listened on what it prepared; and if it owned,
// segue has done so there, with the credentials of a process that is gone.
func (a *attempt) restoreBacklogs(owned bool) {
	for i, r := range a.sockets {
		switch {
		case r.item.Kind != wire.KindListener || r.retired || i >= len(a.claimed) && owned:
		case owned && a.claimed[i] && r.ours():
			a.g.listenOn(r, longest)
			r.noteBacklog()
		case r.kept != 0 && r.kept != backlogOf(r.sock):
			a.g.listenOn(r, r.kept)
		}
	}
}

func (g *Generation) listenOn(r *resource, n int) {
	raw, err := r.sock.SyscallConn()
	if err == nil {
		var inner error
		err = raw.Control(func(fd uintptr) { inner = os.NewSyscallError("listen", unix.Listen(int(fd), n)) })
		err = errors.Join(err, inner)
	}
	if err != nil && !errors.Is(err, net.ErrClosed) {
		g.log.Warn("the accept queue keeps its length", "name", r.item.Name, "error", err)
	}
}

// backlogOf returns how many connections may wait in the queue of a listener; 0 if that is not known.
func backlogOf(s listener.Pausable) (n int) {
	i, err := listener.Describe(s)
	if err != nil || !i.Listening {
		return 0
	}
	if i.Network != "tcp" {
		if n, err = sockdiag.Backlog(uint32(i.Ino)); err != nil {
			return 0
		}
		return n
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		// Of a listening socket these are the lengths of its queue (tcp_get_info in net/ipv4/tcp.c).
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int(info.Sacked)
		}
	})
	return n
}
