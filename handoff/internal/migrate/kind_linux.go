package migrate

import (
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// What poll(2) says of an idle TCP connection. x/sys has no names for two of these (include/uapi/asm-generic/poll.h).
const (
	pollWrNorm = 0x100
	pollWrBand = 0x200
	likely     = unix.POLLOUT | pollWrNorm
)

// checkConns makes sure that fds are of the kind that becomes a connection. One that its client has reset is.
func checkConns(fds []*listener.FD) error {
	asked, err := suspects(fds)
	if err != nil {
		return err
	}
	for _, i := range asked {
		if err := checkConn(i, fds[i]); err != nil {
			return err
		}
	}
	return nil
}

// suspects returns the places of those that may be no connections, by one system call for all. To ask one what it is takes three,
// which is more than all else that is done to park it.
//
//	an idle TCP connection       POLLOUT and POLLWRNORM alone (net/ipv4/tcp.c: tcp_poll): let in
//	one with something to read   POLLIN too
//	a listener                   not POLLOUT
//	a Unix or a packet socket    POLLWRBAND too (net/unix/af_unix.c: unix_poll; net/core/datagram.c: datagram_poll)
//	an eventfd                   not POLLWRNORM (fs/eventfd.c: eventfd_poll)
//	a file                       POLLIN too (include/linux/poll.h: DEFAULT_POLLMASK)
//	a pipe's end for writing     as a TCP connection (fs/pipe.c: pipe_poll), and so is a terminal: let in
//
// What should not have been let in is closed when it would become a connection: by [listener.ConnFromFD] it cannot.
func suspects(fds []*listener.FD) ([]int, error) {
	polled := make([]unix.PollFd, 0, len(fds))
	var pollErr error
	err := listener.ControlAll(fds, make([]int, 0, len(fds)), func(ns []int) {
		for _, n := range ns {
			polled = append(polled, unix.PollFd{Fd: int32(n), Events: unix.POLLIN | likely | pollWrBand})
		}
		_, pollErr = unix.Poll(polled, 0)
	})
	if err != nil {
		return nil, err
	}
	unknown := pollErr != nil || strings.HasPrefix(runtime.GOARCH, "mips") // where the bits mean something else
	var found []int
	for i, p := range polled {
		if unknown || p.Revents != likely {
			found = append(found, i)
		}
	}
	return found, nil
}

// checkConn asks what fd, number i of its batch, is.
func checkConn(i int, fd *listener.FD) error {
	var domain, typ, listening int
	err := sys.Control(fd, func(n int) (err error) {
		if domain, err = unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil {
			return err
		}
		if typ, err = unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
			return err
		}
		listening, err = unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		return err
	})
	inet := domain == unix.AF_INET || domain == unix.AF_INET6
	ok := inet && typ == unix.SOCK_STREAM || domain == unix.AF_UNIX && (typ == unix.SOCK_STREAM || typ == unix.SOCK_SEQPACKET)
	switch {
	case err != nil:
		return fmt.Errorf("%w: descriptor %d of CONNS is no socket: %w", wire.ErrProtocol, i, err)
	case !ok || listening != 0:
		return fmt.Errorf("%w: descriptor %d of CONNS is no connection, but a socket of domain %d, type %d", wire.ErrProtocol, i, domain, typ)
	}
	return nil
}
