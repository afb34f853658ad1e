//go:build !linux

package listener

import (
	"errors"
	"fmt"
	"net"
)

func checkListener(*FD) (Info, error) {
	return Info{}, fmt.Errorf("listener: make a listener of a descriptor: %w", errors.ErrUnsupported)
}

func (Info) netAddr() (net.Addr, error) { return nil, errors.ErrUnsupported }

func rebuildListener(*FD) (netListener, error) {
	return nil, fmt.Errorf("listener: make a listener of a descriptor: %w", errors.ErrUnsupported)
}

func rebuildPacket(*FD) (net.PacketConn, error) {
	return nil, fmt.Errorf("listener: make a packet socket of a descriptor: %w", errors.ErrUnsupported)
}
