package peer

import (
	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// IsRendezvous reports whether fd, which [listener.Describe] says is i, is where an incumbent waits for callers: who else
// would want to be told who connects, by pidfd? It borrows fd.
func IsRendezvous(fd *listener.FD, i listener.Info) bool {
	if i.Network != "unixpacket" || !i.Listening {
		return false
	}
	passes := 0
	_ = fd.Control(func(n uintptr) { // without the option it is none
		passes, _ = unix.GetsockoptInt(int(n), unix.SOL_SOCKET, unix.SO_PASSPIDFD)
	})
	return passes != 0
}
