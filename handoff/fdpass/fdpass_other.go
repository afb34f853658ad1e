//go:build !linux

package fdpass

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"

	"github.com/segue-go/segue/listener"
)

func unsupported(op string) error {
	return fmt.Errorf("fdpass: %s: %w on %s; handing over descriptors needs Linux", op, errors.ErrUnsupported, runtime.GOOS)
}

// Send returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func Send(*net.UnixConn, []byte, ...syscall.Conn) error { return unsupported("send") }

// SendAll returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func SendAll[C syscall.Conn](*net.UnixConn, []byte, []C) error { return unsupported("send") }

// Recv returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func Recv(*net.UnixConn, []byte) (*Message, error) { return nil, unsupported("receive") }

// RecvAll returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func RecvAll(*net.UnixConn, []byte, int) (*Message, error) { return nil, unsupported("receive") }

// TryRecv returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func TryRecv(*net.UnixConn, []byte) (*Message, error) { return nil, unsupported("receive") }

// PassCred returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func PassCred(syscall.Conn, bool) error { return unsupported("pass credentials") }

// Process cannot be opened here: only Linux is supported.
type Process struct{}

// OpenProcess returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func OpenProcess(int) (*Process, error) { return nil, unsupported("open a process") }

// NewProcess returns an error that is [errors.ErrUnsupported]: only Linux is supported. The descriptor stays the caller's.
func NewProcess(*listener.FD) (*Process, error) { return nil, unsupported("open a process") }

// PID returns 0.
func (*Process) PID() int { return 0 }

// Alive returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func (*Process) Alive() error { return unsupported("look at a process") }

// Get returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func (*Process) Get(int) (*listener.FD, error) { return nil, unsupported("take a descriptor") }

// GetAll returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func (*Process) GetAll([]int) ([]*listener.FD, error) { return nil, unsupported("take descriptors") }

// GetInode returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func (*Process) GetInode(int, uint64) (*listener.FD, error) {
	return nil, unsupported("take a descriptor")
}

// Reopen returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func (*Process) Reopen(int, int) (*listener.FD, error) {
	return nil, unsupported("reopen a descriptor")
}

// Close does nothing.
func (*Process) Close() error { return nil }

// Reopen returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func Reopen(syscall.Conn, int) (*listener.FD, error) { return nil, unsupported("reopen a descriptor") }
