//go:build !linux

package listener

import (
	"errors"
	"fmt"
	"syscall"
)

// Describe is for Linux: elsewhere it returns an error that is [errors.ErrUnsupported].
func Describe(syscall.Conn) (Info, error) {
	return Info{}, fmt.Errorf("listener: describe: %w", errors.ErrUnsupported)
}
