package handoff

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

// token is ownership: an eventfd(2) that holds 1 while nobody has taken it. Reading is atomic, so one side gets the 1
// and every other EAGAIN, whatever either believes and however long it was stopped. Each attempt has a token of its own.
type token struct{ fd *listener.FD }

func newToken() (token, error) {
	n, err := unix.Eventfd(1, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return token{}, fmt.Errorf("eventfd: %w", err)
	}
	return token{fd: listener.NewFD(n)}, nil
}

// adoptToken takes fd, which came with WELCOME, if it is an eventfd. Of a pipe or a memfd two sides may read a 1.
func adoptToken(fd *listener.FD) (token, error) {
	err := sys.Control(fd, func(n int) error {
		var st unix.Stat_t
		if err := unix.Fstat(n, &st); err != nil {
			return os.NewSyscallError("fstat", err)
		}
		// Blocking on somebody else's eventfd would be for ever.
		if err := unix.SetNonblock(n, true); err != nil {
			return err
		}
		// The inode of an eventfd has no type, as little as those of timers, epoll instances and their likes
		// (fs/anon_inodes.c). Of them only an eventfd takes eight bytes; a 0 is added to what it holds (eventfd(2)). This
		// works where there is no /proc, which would tell as well.
		if st.Mode&unix.S_IFMT == 0 {
			if added, err := unix.Write(n, make([]byte, 8)); added == 8 {
				return nil
			} else if errors.Is(err, unix.EINTR) {
				return err // again
			}
		}
		return fmt.Errorf("%w: the token is no eventfd", ErrProtocol)
	})
	if err != nil {
		_ = fd.Close()
		return token{}, err
	}
	return token{fd: fd}, nil
}

// take reports whether the caller owns from now on.
func (t token) take() (bool, error) {
	var b [8]byte
	err := sys.Control(t.fd, func(n int) error {
		_, err := unix.Read(n, b[:])
		return err
	})
	switch {
	case err == nil:
		return binary.NativeEndian.Uint64(b[:]) == 1, nil
	case errors.Is(err, unix.EAGAIN):
		return false, nil
	default:
		return false, fmt.Errorf("read the token: %w", err)
	}
}

// present reports whether somebody could take the token, without taking it.
func (t token) present() bool {
	var n int
	err := sys.Control(t.fd, func(fd int) (err error) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err
	})
	return err == nil && n == 1
}

// put gives ownership up, for the other side to take.
func (t token) put() error {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], 1)
	return sys.Control(t.fd, func(n int) error {
		_, err := unix.Write(n, b[:])
		return err
	})
}

func (t token) close() { _ = t.fd.Close() }
