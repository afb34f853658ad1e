package spawn

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/internal/startenv"
	"github.com/segue-go/segue/listener"
)

// envConn tells a spawned successor which descriptor is its end of a socket pair. The inode proves
// that the descriptor is the one that was meant, and not one that a wrapper has put in its place; the path says for which
// Generation of the process it is.
const envConn = startenv.Handoff

// Inherited takes the connection that a parent left for the Generation on path. It reports whether there is one.
func Inherited(path string, log *slog.Logger) (conn *net.UnixConn, left bool, err error) {
	value, ok := os.LookupEnv(envConn)
	if !ok {
		return nil, false, nil
	}
	number, rest, _ := strings.Cut(value, ":")
	inode, forPath, _ := strings.Cut(rest, ":")
	if forPath != path {
		log.Warn("SEGUE_HANDOFF is for another Generation; an upgrade cannot change Config.Path", "for", forPath, "path", path)
		return nil, false, nil
	}
	if err := os.Unsetenv(envConn); err != nil {
		return nil, false, err
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 3 {
		return nil, false, fmt.Errorf("%s=%q is not of our making; unset it", envConn, value)
	}
	var st unix.Stat_t
	if err := unix.Fstat(n, &st); err != nil || strconv.FormatUint(st.Ino, 10) != inode {
		return nil, false, nil // not for us: a process between the spawner and us closed it
	}
	domain, err1 := unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_DOMAIN)
	typ, err2 := unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_TYPE)
	_, err3 := unix.Getpeername(n) // an end whose other end is closed still has it (net/unix/af_unix.c)
	if err := errors.Join(err1, err2, err3); err != nil || domain != unix.AF_UNIX || typ != unix.SOCK_SEQPACKET {
		return nil, false, nil
	}
	unix.CloseOnExec(n)
	if err := unix.SetNonblock(n, true); err != nil {
		return nil, false, err
	}
	conn, err = sys.UnixConn(listener.NewFD(n))
	return conn, err == nil, err
}
