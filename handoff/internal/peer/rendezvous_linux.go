package peer

import (
	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// IsRendezvous reports whether fd, which [listener.Describe] says is i, is where an incumbent waits for callers: who else
// would want to be told who connects, by pidfd? Before Linux 6.5, by number. It borrows fd.
func IsRendezvous(fd *listener.FD, i listener.Info) bool {
	if i.Network != "unixpacket" || !i.Listening {
		return false
	}
	passes := 0
	_ = fd.Control(func(n uintptr) { // without the option it is none
		var err error
		if passes, err = unix.GetsockoptInt(int(n), unix.SOL_SOCKET, unix.SO_PASSPIDFD); err == unix.ENOPROTOOPT {
			passes, _ = unix.GetsockoptInt(int(n), unix.SOL_SOCKET, unix.SO_PASSCRED)
		}
	})
	return passes != 0
}
