//go:build !linux

package listener

import (
	"errors"
	"fmt"
	"syscall"
)

// Dup is for Linux: elsewhere it returns an error that is [errors.ErrUnsupported].
func Dup(syscall.Conn) (*FD, error) {
	return nil, fmt.Errorf("listener: duplicate: %w", errors.ErrUnsupported)
}

func closeFD(int) error {
	return fmt.Errorf("listener: close a bare descriptor: %w", errors.ErrUnsupported)
}
