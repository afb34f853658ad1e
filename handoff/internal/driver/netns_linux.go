package driver

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// tellNetNS tells, once, that a socket from the predecessor is of another network namespace than this process: it works, but
// what the operator configures for this process's network does not reach it.
func (p *predecessor) tellNetNS(item wire.Item, fd *listener.FD) {
	if p.netnsTold || !strings.HasPrefix(item.Network, "tcp") && !strings.HasPrefix(item.Network, "udp") {
		return
	}
	if p.netns == 0 {
		p.netns = ownNetNS()
	}
	theirs := netNS(fd)
	if theirs == 0 || p.netns == 0 || theirs == p.netns {
		return
	}
	p.netnsTold = true
	p.d.log.Warn("a socket stays in another network namespace than that of this process; it serves as long as that one has its network, "+
		"and what this process binds or dials anew is in its own", "name", item.Name)
}

// netNS is a number of the network namespace in which a socket was made, and 0 if the kernel (before 5.14) does not tell:
// SO_NETNS_COOKIE, socket(7).
func netNS(fd *listener.FD) (cookie uint64) {
	_ = sys.Control(fd, func(n int) (err error) {
		cookie, err = unix.GetsockoptUint64(n, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return err
	})
	return cookie
}

// ownNetNS is that of this process; 0 too if there is no descriptor left to ask with.
func ownNetNS() uint64 {
	n, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	fd := listener.NewFD(n)
	defer fd.Close()
	return netNS(fd)
}
