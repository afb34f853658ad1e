package control

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/rendezvous"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/listener"
)

const (
	backlog = 64
	// made is where a socket is bound before it takes the place of the last one. Its name is as short as can be, because a path has
	// 107 bytes at most.
	made = "~"
)

// socket is one that listens, and its file.
type socket struct {
	file     *os.File
	dev, ino uint64
	cancel   context.CancelFunc
	callers  callers
}

// Open listens at Path, in the place of whoever did before. The caller holds the lock of the rendezvous.
func (s *Server) Open() error {
	switch info, err := os.Lstat(s.Path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s is in the way and is no socket; remove it", s.Path)
	}
	var o *socket
	var err error
	s.Alone(func() { o, err = listen(s.Path) })
	if err != nil {
		return err
	}
	s.Close()
	ctx, cancel := context.WithCancel(s.Context)
	o.cancel, o.callers.slots = cancel, make(chan struct{}, maxCallers)
	s.mu.Lock()
	s.open = o
	s.mu.Unlock()
	s.Task(func() { s.serve(ctx, o) })
	return nil
}

// listen binds a socket of mode 0600 beside path, and renames it to that: who asks meanwhile finds the one before, or this one.
func listen(path string) (*socket, error) {
	temporary := path + made
	if len(temporary) > rendezvous.MaxPath {
		return nil, fmt.Errorf("the path %q has %d bytes, and may have %d: choose a Config.Path of %d at most",
			path, len(path), rendezvous.MaxPath-len(made), rendezvous.MaxPath-len(made)-len(Suffix))
	}
	n, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	fd := listener.NewFD(n)
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		_ = fd.Close()
		return nil, err
	}
	o := &socket{}
	err = sys.Control(fd, func(n int) error {
		if err := unix.Fchmod(n, 0o600); err != nil { // from its first instant, see rendezvous
			return os.NewSyscallError("fchmod", err)
		}
		if err := unix.SetsockoptInt(n, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil { // connections inherit it
			return os.NewSyscallError("setsockopt SO_PASSCRED", err)
		}
		if err := unix.Bind(n, &unix.SockaddrUnix{Name: temporary}); err != nil {
			return &os.PathError{Op: "bind", Path: temporary, Err: err}
		}
		return os.NewSyscallError("listen", unix.Listen(n, backlog))
	})
	if err == nil {
		o.dev, o.ino, err = identify(temporary)
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = fd.Close()
		_ = os.Remove(temporary)
		return nil, err
	}
	o.file = fd.File(path)
	return o, nil
}

func identify(path string) (dev, ino uint64, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0, 0, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return st.Dev, st.Ino, nil
}

// InPlace reports whether who asks at Path asks this Server.
func (s *Server) InPlace() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inPlaceLocked()
}

func (s *Server) inPlaceLocked() bool {
	if s.open == nil {
		return false
	}
	dev, ino, err := identify(s.Path) // no other file gets this number as long as the socket is open
	return err == nil && dev == s.open.dev && ino == s.open.ino
}

// Close stops to accept. Who is being answered is answered. The path stays, so that the next owner can replace it.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.open; o != nil {
		s.left = s.inPlaceLocked()
		s.open = nil
		o.cancel()
		_ = o.file.Close()
	}
}

// Left reports whether Close has left the path behind.
func (s *Server) Left() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left
}

// Sweep removes the path if nobody listens there. The caller holds the lock of the rendezvous.
func (s *Server) Sweep() {
	c, err := rendezvous.Path(s.Path).Dial()
	if err == nil {
		_ = c.Close()
		return
	}
	if info, lerr := os.Lstat(s.Path); errors.Is(err, unix.ECONNREFUSED) && lerr == nil && info.Mode().Type() == os.ModeSocket {
		_ = os.Remove(s.Path)
	}
}
