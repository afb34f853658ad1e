package token

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

// Token is ownership: an eventfd(2) that holds 1 while nobody has taken it. Reading is atomic, so one side gets the 1
// and every other EAGAIN, whatever either believes and however long it was stopped. Each attempt has a token of its own.
// The zero value is none.
type Token struct{ fd *listener.FD }

// New makes a token that is there to be taken.
func New() (Token, error) {
	n, err := unix.Eventfd(1, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return Token{}, fmt.Errorf("eventfd: %w", err)
	}
	return Token{fd: listener.NewFD(n)}, nil
}

// Adopt takes fd, which came with WELCOME, if it is an eventfd. Of a pipe or a memfd two sides may read a 1.
func Adopt(fd *listener.FD) (Token, error) {
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
		return fmt.Errorf("%w: the token is no eventfd", wire.ErrProtocol)
	})
	if err != nil {
		_ = fd.Close()
		return Token{}, err
	}
	return Token{fd: fd}, nil
}

// Take reports whether the caller owns from now on. More than 1 is there if the other side has put it back twice: nobody else owns
// then either.
func (t Token) Take() (bool, error) {
	var b [8]byte
	err := sys.Control(t.fd, func(n int) error {
		_, err := unix.Read(n, b[:])
		return err
	})
	switch {
	case err == nil:
		return binary.NativeEndian.Uint64(b[:]) != 0, nil
	case errors.Is(err, unix.EAGAIN):
		return false, nil
	default:
		return false, fmt.Errorf("read the token: %w", err)
	}
}

// Present reports whether somebody could take the token, without taking it.
func (t Token) Present() bool {
	var n int
	err := sys.Control(t.fd, func(fd int) (err error) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err
	})
	return err == nil && n == 1
}

// Put gives ownership up, for the other side to take.
func (t Token) Put() error {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], 1)
	return sys.Control(t.fd, func(n int) error {
		_, err := unix.Write(n, b[:])
		return err
	})
}

// Exists reports whether t is a token, which may have been closed.
func (t Token) Exists() bool { return t.fd != nil }

// SyscallConn lets t be sent.
func (t Token) SyscallConn() (syscall.RawConn, error) { return t.fd.SyscallConn() }

// Dup returns a descriptor of the same token, for another process to take.
func (t Token) Dup() (*listener.FD, error) { return listener.Dup(t.fd) }

// Close is idempotent. Others who hold the token keep it.
func (t Token) Close() { _ = t.fd.Close() }
