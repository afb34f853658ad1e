package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

const (
	rendezvousBacklog = 64
	maxPath           = 107 // bytes of sun_path without the final zero, unix(7)
	lockPoll          = 5 * time.Millisecond
)

// dialRendezvous connects to the incumbent. Credentials are asked for before it can answer.
func dialRendezvous(path string) (*net.UnixConn, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("path %q has %d bytes, a Unix socket's at most %d; choose a shorter one", path, len(path), maxPath)
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

// incumbentOf returns the process that the rendezvous vouches for at the other end of conn: who called listen(2) last
// (SO_PEERCRED and SO_PEERPIDFD, unix(7)).
func incumbentOf(conn *net.UnixConn) (*peer.Peer, error) {
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

// bindRendezvous makes this generation the first on its path, unless somebody else is quicker: then it reports false.
func (g *Generation) bindRendezvous(ctx context.Context) (bound bool, err error) {
	err = g.withLock(ctx, func() error {
		var err error
		bound, err = g.bindLocked()
		return err
	})
	return bound && err == nil, err
}

// bindLocked is bindRendezvous for who holds the lock.
func (g *Generation) bindLocked() (bool, error) {
	switch c, err := dialRendezvous(g.cfg.Path); {
	case err == nil:
		return false, c.Close() // somebody serves by now
	case errors.Is(err, syscall.EAGAIN):
		return false, nil // so many want to succeed it that they queue
	case !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, os.ErrNotExist):
		return false, err
	}
	if err := removeStaleSocket(g.cfg.Path); err != nil {
		return false, err
	}
	fd, err := listenRendezvous(g.cfg.Path)
	if err != nil {
		return false, err
	}
	return true, g.adoptRendezvous(fd, wire.Item{Name: g.cfg.Path, Kind: wire.KindRendezvous, UnlinkOnClose: true}, -1)
}

// removeStaleSocket removes what a generation that was killed left behind. What is no socket is somebody else's.
func removeStaleSocket(path string) error {
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

// listenRendezvous binds path with mode 0600 from its first instant: bind(2) creates the file with the mode of the
// socket's inode, less the umask.
func listenRendezvous(path string) (*listener.FD, error) {
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
		if err = relisten(fd); err != nil {
			_ = os.Remove(path)
		}
	}
	if err != nil {
		_ = fd.Close()
		return nil, err
	}
	return fd, nil
}

// relisten makes this process the one that the rendezvous vouches for: the kernel shows those who connect the
// credentials of whoever called listen(2) last (SO_PEERCRED, unix(7)). It makes it pass credentials, too, which accepted
// connections inherit.
func relisten(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(n uintptr) {
		for _, option := range []int{unix.SO_PASSCRED, unix.SO_PASSPIDFD} {
			if inner = unix.SetsockoptInt(int(n), unix.SOL_SOCKET, option, 1); inner != nil {
				inner = fmt.Errorf("SO_PASSPIDFD needs Linux 6.5: %w: %w", errors.ErrUnsupported, inner)
				return
			}
		}
		inner = os.NewSyscallError("listen", unix.Listen(int(n), rendezvousBacklog))
	})
	return errors.Join(err, inner)
}

// adoptRendezvous takes fd.
func (g *Generation) adoptRendezvous(fd *listener.FD, item wire.Item, place int) error {
	r, err := sockets.Rendezvous(g.log, fd, item, place, relisten)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.rendezvous = r
	g.mu.Unlock()
	return nil
}

// lockName is the file beside the rendezvous that who binds, replaces or removes a path holds locked.
func (g *Generation) lockName() string { return g.cfg.Path + ".lock" }

// withLock calls f while it holds the lock file beside the rendezvous. Without a Path there is nobody to agree with. A lock
// file that f had to make, and does not need because it failed, is removed.
func (g *Generation) withLock(ctx context.Context, f func() error) error {
	if g.cfg.Path == "" {
		return f()
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		lock, made, err := tryLock(g.lockName())
		if err != nil {
			return fmt.Errorf("the lock of the rendezvous: %w", err)
		}
		if lock != nil {
			defer lock.Close() // which unlocks it
			if err = f(); err != nil && made {
				_ = os.Remove(g.lockName())
			}
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the lock %s: %w", g.lockName(), context.Cause(ctx))
		}
	}
}

// tryLock locks the file of this name, and makes it if there is none. It returns nil if somebody else holds it. The file may
// be removed by who holds it, and by cleaners of temporary files: so that nobody holds a lock that others cannot find, it
// counts only if it still is the one of that name.
func tryLock(name string) (lock *os.File, made bool, err error) {
	for range 100 { // so often nobody is that unlucky
		lock, err = os.OpenFile(name, os.O_RDWR|syscall.O_NOFOLLOW, 0)
		if made = errors.Is(err, os.ErrNotExist); made {
			lock, err = os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
		}
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		// Not blocking: a flock that waits cannot be interrupted by a context.
		err = lockFile(lock)
		if err == nil {
			mine, err1 := lock.Stat()
			there, err2 := os.Lstat(name)
			if err1 == nil && err2 == nil && os.SameFile(mine, there) {
				return lock, made, nil
			}
			err = err1
		}
		_ = lock.Close()
		switch {
		case err == nil, errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return nil, false, nil
		default:
			return nil, false, &os.PathError{Op: "flock", Path: name, Err: err}
		}
	}
	return nil, false, nil
}

func lockFile(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(n uintptr) { inner = syscall.Flock(int(n), syscall.LOCK_EX|syscall.LOCK_NB) }); err != nil {
		return err
	}
	return inner
}
