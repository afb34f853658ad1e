package integration

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// roleRaw speaks the protocol by itself, and badly: it sends conf.Raw, reads what comes, and stays until the other side
// hangs up.
func roleRaw(c conf, e *emitter) int {
	fd, err := rawLink(c.Path)
	if err != nil {
		e.result("dial", err)
		return 1
	}
	for _, f := range c.Raw {
		if err := unix.Send(fd, []byte(f), unix.MSG_NOSIGNAL); err != nil {
			e.result("send", err)
			break
		}
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR || err == unix.ECONNRESET {
			continue
		}
		if n <= 0 || err != nil {
			e.result("hangup", err)
			return 1
		}
		e.emit(event{Ev: "read", Msg: string(buf[:n])})
	}
}

// rawLink is the descriptor that Upgrade left, as docs/protocol.md says, or a connection to the rendezvous.
func rawLink(path string) (int, error) {
	if v, ok := os.LookupEnv("SEGUE_HANDOFF"); ok {
		n, _, _ := strings.Cut(v, ":")
		return strconv.Atoi(n)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}
