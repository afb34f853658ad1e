package rendezvous

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/listener"
)

const (
	backlog = 64
	// MaxPath is the length of the longest path: the bytes of sun_path without the final zero, unix(7).
	MaxPath = 107
)

// ErrTaken is that the path is somebody else's.
var ErrTaken = errors.New("somebody else listens there; end that process, or give one of the two another Path")

// Path is where a rendezvous is, or is to be: an absolute path. With an empty one, which is of a generation without a
// rendezvous, only [Path.WithLock] may be called.
type Path string

// Dial connects to the incumbent.
func (p Path) Dial() (*net.UnixConn, error) {
	path := string(p)
	if len(path) > MaxPath {
		return nil, fmt.Errorf("path %q has %d bytes, a Unix socket's at most %d; choose a shorter one", path, len(path), MaxPath)
	}
	n, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	fd := listener.NewFD(n)
	defer fd.Close()
	// Not net.Dial: its queue-full EAGAIN is an error too, but it cannot set options before connect(2).
	err = sys.Control(fd, func(n int) error { return unix.Connect(n, &unix.SockaddrUnix{Name: path}) })
	if err != nil {
		return nil, &os.PathError{Op: "connect", Path: path, Err: err}
	}
	return sys.UnixConn(fd)
}

// IncumbentOf returns the process that the rendezvous vouches for at the other end of conn: who called listen(2) last
// (SO_PEERCRED and SO_PEERPIDFD, unix(7)). Before Linux 6.5 it is a [peer.Candidate], opened after the connection was made.
func IncumbentOf(conn *net.UnixConn) (*peer.Peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	pidfd := -1
	var inner error
	err = raw.Control(func(n uintptr) {
		if cred, inner = unix.GetsockoptUcred(int(n), unix.SOL_SOCKET, unix.SO_PEERCRED); inner == nil {
			pidfd, inner = unix.GetsockoptInt(int(n), unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		}
	})
	if err == nil && cred != nil && errors.Is(inner, unix.ENOPROTOOPT) {
		return peer.Candidate(int(cred.Pid), cred.Uid, cred.Gid)
	}
	if errors.Is(inner, unix.ESRCH) || errors.Is(inner, unix.EINVAL) || errors.Is(inner, unix.ENODATA) {
		inner = fmt.Errorf("%w: %w", peer.ErrGone, inner) // reaped, on kernels before 6.17
	}
	if err = errors.Join(err, os.NewSyscallError("getsockopt SO_PEERPIDFD", inner)); err != nil {
		return nil, err
	}
	fd := listener.NewFD(pidfd)
	p, err := peer.FromPidFD(fd, int(cred.Pid), cred.Uid, cred.Gid)
	if err != nil {
		_ = fd.Close()
	}
	return p, err
}

// Bind listens at p, of which the caller holds the lock. What was left behind there by a process that has died is removed. The
// error is [ErrTaken] if somebody listens there. Nobody is accepted yet.
func (p Path) Bind() (*listener.FD, error) {
	switch c, err := p.Dial(); {
	case err == nil:
		_ = c.Close()
		return nil, ErrTaken
	case errors.Is(err, syscall.EAGAIN): // so many want to succeed it that they queue
		return nil, ErrTaken
	case !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	if err := removeStale(string(p)); err != nil {
		return nil, err
	}
	return listen(string(p))
}

// removeStale removes what a generation that was killed left behind. What is no socket is somebody else's.
func removeStale(path string) error {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s is in the way and is no socket; remove it, or choose another path", path)
	}
	return os.Remove(path)
}

// listen binds path with mode 0600 from its first instant: bind(2) creates the file with the mode of the
// socket's inode, less the umask.
func listen(path string) (*listener.FD, error) {
	n, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	fd := listener.NewFD(n)
	err = sys.Control(fd, func(n int) error {
		if err := unix.Fchmod(n, 0o600); err != nil {
			return os.NewSyscallError("fchmod", err)
		}
		if err := unix.Bind(n, &unix.SockaddrUnix{Name: path}); err != nil {
			return &os.PathError{Op: "bind", Path: path, Err: err}
		}
		return nil
	})
	if err == nil {
		if err = Vouch(fd); err != nil {
			_ = os.Remove(path)
		}
	}
	if err != nil {
		_ = fd.Close()
		return nil, err
	}
	return fd, nil
}

// Vouch makes this process the one that the rendezvous vouches for: the kernel shows those that connect the
// credentials of the process that called listen(2) last (SO_PEERCRED, unix(7)). It makes it pass credentials, too, which accepted
// connections inherit; before Linux 6.5, without pidfds.
func Vouch(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(n uintptr) {
		for _, option := range []int{unix.SO_PASSCRED, unix.SO_PASSPIDFD} {
			inner = unix.SetsockoptInt(int(n), unix.SOL_SOCKET, option, 1)
			if option == unix.SO_PASSPIDFD && errors.Is(inner, unix.ENOPROTOOPT) {
				break
			}
			if inner != nil {
				inner = os.NewSyscallError("setsockopt", inner)
				return
			}
		}
		inner = os.NewSyscallError("listen", unix.Listen(int(n), backlog))
	})
	return errors.Join(err, inner)
}

// InPlace reports whether p and its lock are there, and p is that of the socket that was bound as is; nil: any socket.
func (p Path) InPlace(is *listener.UnixPath) bool {
	var st unix.Stat_t
	if unix.Lstat(p.lockName(), &st) != nil || unix.Lstat(string(p), &st) != nil {
		return false
	}
	if is != nil {
		// No other file gets this number: the socket holds on to its inode (net/unix/af_unix.c: unix_bind_bsd).
		return is.Dev == st.Dev && is.Ino == st.Ino
	}
	return st.Mode&unix.S_IFMT == unix.S_IFSOCK // an incumbent in another language need not say which file it is
}
