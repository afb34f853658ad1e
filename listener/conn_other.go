//go:build !linux

package listener

import (
	"errors"
	"fmt"
	"net"
)

// ConnFromFD needs Linux: elsewhere the error is [errors.ErrUnsupported].
func ConnFromFD(*FD) (net.Conn, error) {
	return nil, fmt.Errorf("listener: make a connection of a descriptor: %w", errors.ErrUnsupported)
}
