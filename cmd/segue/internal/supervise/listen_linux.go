package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/internal/startenv"
	"github.com/segue-go/segue/listener"
)

// socket is one that COMMAND gets.
type socket struct {
	name string
	fd   *listener.FD
	path *listener.UnixPath // to be removed; nil if there is none
}

func (s *socket) close() {
	_ = s.fd.Close()
	if s.path != nil {
		_ = s.path.Unlink()
	}
}

// bind makes the sockets. On an error it returns those that it has made.
func bind(ctx context.Context, all []Socket) (bound []*socket, err error) {
	for _, l := range all {
		s, err := bindOne(ctx, l)
		if err != nil {
			return bound, fmt.Errorf("--listen %s/%s: %w", l.Network, l.Address, err)
		}
		bound = append(bound, s)
	}
	return bound, nil
}

func bindOne(ctx context.Context, l Socket) (*socket, error) {
	var made interface {
		io.Closer
		syscall.Conn
	}
	var err error
	var lc net.ListenConfig
	isPath := strings.HasPrefix(l.Network, "unix") && !strings.HasPrefix(l.Address, "@")
	if isPath {
		unlock, err := lockDir(ctx, filepath.Dir(l.Address))
		if err != nil {
			return nil, err
		}
		defer unlock()
		removeStale(l.Network, l.Address)
	}
	switch l.Network {
	case "udp", "udp4", "udp6", "unixgram":
		var c net.PacketConn
		if c, err = lc.ListenPacket(ctx, l.Network, l.Address); err == nil {
			made = c.(interface {
				io.Closer
				syscall.Conn
			})
		}
	default:
		var ln net.Listener
		if ln, err = lc.Listen(ctx, l.Network, l.Address); err == nil {
			if u, ok := ln.(*net.UnixListener); ok {
				u.SetUnlinkOnClose(false)
			}
			made = ln.(interface {
				io.Closer
				syscall.Conn
			})
		}
	}
	if err != nil {
		return nil, err
	}
	defer made.Close()
	s := &socket{name: l.Name}
	if isPath {
		if p, err := listener.StatUnixPath(l.Address); err == nil {
			s.path = p
		}
	}
	if s.fd, err = listener.Dup(made); err != nil {
		return nil, err
	}
	// As systemd makes them (Socket units block). It is never touched again: a program sets what it needs, and it holds for all
	// who have the socket.
	var opErr error
	if err := errors.Join(s.fd.Control(func(n uintptr) { opErr = unix.SetNonblock(int(n), false) }), opErr); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// lockTimeout is for how long another process may be about to bind.
const lockTimeout = 5 * time.Second

// lockDir has one process at a time remove a stale path in a directory and bind it. Otherwise the second one, having found the path stale too,
// removes the socket that the first has bound. The directory itself is locked, so that no file is left behind.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(lockTimeout); ; {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = f.Close() }, nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline):
			_ = f.Close()
			return nil, fmt.Errorf("lock the directory %s: %w", dir, err)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			_ = f.Close()
			return nil, context.Cause(ctx)
		}
	}
}

// removeStale removes the path of a socket that nobody has.
func removeStale(network, path string) {
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSocket {
		return
	}
	c, err := net.Dial(network, path)
	if err == nil {
		_ = c.Close()
	}
	if errors.Is(err, unix.ECONNREFUSED) {
		_ = os.Remove(path)
	}
}

// inheritedSockets are those that this process was started with itself, by systemd for example. COMMAND gets them too.
func inheritedSockets(log *slog.Logger) (all []*socket, err error) {
	l, err := startenv.TakeListen()
	if err != nil {
		return nil, err
	}
	if l.Foreign {
		log.Warn("LISTEN_FDS is ignored: LISTEN_PID is not this process", "LISTEN_PID", l.PID, "pid", os.Getpid())
	}
	for i, name := range l.Names {
		fd := startenv.FirstFD + i
		if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
			return all, fmt.Errorf("LISTEN_FDS=%d, but descriptor %d is no socket: %w", len(l.Names), fd, err)
		}
		unix.CloseOnExec(fd)
		all = append(all, &socket{name: name, fd: listener.NewFD(fd)})
	}
	return all, nil
}
