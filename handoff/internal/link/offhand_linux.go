package link

import (
	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/wire"
)

// Offhand sends a message that is of no consequence, if that takes no time: it waits neither for room in the socket's buffer nor
// for anybody who sends, and leaves half of the buffer to what matters. It reports whether it was sent.
func (l *Link) Offhand(m wire.Message) bool {
	b, err := wire.Encode(m)
	if err != nil {
		return false
	}
	raw, err := l.Conn.SyscallConn()
	if err != nil {
		return false
	}
	sent := false
	_ = raw.Control(func(fd uintptr) {
		room, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		if err != nil {
			return
		}
		queued, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) // not yet received, as the kernel accounts for it (unix(7))
		if err != nil || queued+len(b) > room/2 {
			return
		}
		sent = unix.Sendto(int(fd), b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil) == nil
	})
	return sent
}
