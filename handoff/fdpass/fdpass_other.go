//go:build !linux

package fdpass

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"
)

func unsupported(op string) error {
	return fmt.Errorf("fdpass: %s: %w on %s; handing over descriptors needs Linux", op, errors.ErrUnsupported, runtime.GOOS)
}

// Send returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func Send(*net.UnixConn, []byte, ...syscall.Conn) error { return unsupported("send") }

// Recv returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func Recv(*net.UnixConn, []byte) (*Message, error) { return nil, unsupported("receive") }

// TryRecv returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func TryRecv(*net.UnixConn, []byte) (*Message, error) { return nil, unsupported("receive") }

// PassCred returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func PassCred(syscall.Conn, bool) error { return unsupported("pass credentials") }
