package listener

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
)

// checkListener makes sure that f, which it borrows, is what net.FileListener takes for granted. It changes nothing.
func checkListener(f *FD) (Info, error) {
	info, err := Describe(f)
	if err != nil {
		return info, err
	}
	switch {
	case !info.Socket:
		return info, wrongType("the descriptor is no socket", wantListener, ErrNotSocket)
	case info.Network == "udp" || info.Network == "unixgram":
		return info, wrongType(what(info)+" has no connections to accept", wantListener, ErrSocketType)
	case info.Network == "":
		return info, wrongType(what(info)+" is none that package net knows", wantListener, ErrSocketType)
	case !info.Listening:
		return info, wrongType(what(info)+" is connected, or nobody called listen on it", wantListener, ErrNotListening)
	}
	return info, nil
}

const wantListener = "a listening tcp, unix or unixpacket socket"

// netAddr is the net.Addr of a listener.
func (i Info) netAddr() (net.Addr, error) {
	if i.Network != "tcp" {
		return &net.UnixAddr{Net: i.Network, Name: i.Address}, nil
	}
	ap, err := netip.ParseAddrPort(i.Address)
	if err != nil {
		return nil, fmt.Errorf("listener: the address of %s: %w", what(i), err)
	}
	return net.TCPAddrFromAddrPort(ap), nil
}

// rebuildListener makes a net.Listener of a copy of f, which it borrows.
func rebuildListener(f *FD) (netListener, error) {
	info, err := checkListener(f)
	if err != nil {
		return nil, err
	}
	file, err := openCopy(f, info)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, rebuildError(info, err)
	}
	ln, ok := l.(netListener)
	if !ok {
		_ = l.Close()
		return nil, wrongType(fmt.Sprintf("%s became a %T", what(info), l), wantListener, ErrSocketType)
	}
	return ln, nil
}

// rebuildPacket makes a net.PacketConn of a copy of f, which it borrows.
func rebuildPacket(f *FD) (net.PacketConn, error) {
	info, err := Describe(f)
	if err != nil {
		return nil, err
	}
	const want = "a udp or unixgram socket"
	switch {
	case !info.Socket:
		return nil, wrongType("the descriptor is no socket", want, ErrNotSocket)
	case info.Network != "udp" && info.Network != "unixgram":
		return nil, wrongType(what(info)+" carries no packets", want, ErrSocketType)
	}
	file, err := openCopy(f, info)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	c, err := net.FilePacketConn(file)
	if err != nil {
		return nil, rebuildError(info, err)
	}
	return c, nil
}

// openCopy gives package net what it can duplicate once more. An os.File cannot be asked to give its descriptor back,
// so that f itself would be lost if the second duplicate failed.
func openCopy(f *FD, info Info) (*os.File, error) {
	fd, err := Dup(f)
	if err != nil {
		return nil, err
	}
	return fd.File(info.Network + ":" + info.Address), nil
}

// rebuildError replaces the net.OpError that package net made for the file, which says no more than the cause in it.
func rebuildError(i Info, err error) error {
	var oe *net.OpError
	if errors.As(err, &oe) {
		err = oe.Err
	}
	return fmt.Errorf("listener: rebuild %s (is RLIMIT_NOFILE reached?): %w", what(i), err)
}

// what names a socket for an operator.
func what(i Info) string {
	if i.Network == "" {
		return fmt.Sprintf("a socket of domain %d, type %d, protocol %d", i.Domain, i.Type, i.Protocol)
	}
	if i.Address == "" {
		return "an unnamed " + i.Network + " socket"
	}
	return fmt.Sprintf("the %s socket %s", i.Network, i.Address)
}
