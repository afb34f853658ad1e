package listener

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// ConnFromFD takes f, a connected tcp, unix or unixpacket socket, and makes it a *net.TCPConn or *net.UnixConn. On error f
// stays the caller's.
//
// The socket's options stay what they are. net.FileConn alone would turn on TCP_NODELAY and keep-alive, with its own times
// (net/tcpsock.go: newTCPConn), whatever a program had set. It sets O_NONBLOCK, for all that share the socket.
//
// Errors: [ErrNotSocket], [ErrSocketType], [ErrNotConnected] (also if the socket listens, or the other side has reset a tcp
// connection), or a want of descriptors: two more are needed for a moment.
func ConnFromFD(f *FD) (net.Conn, error) {
	var before tcpOptions
	var domain, typ int
	var askErr, peerErr error
	err := f.Control(func(fd uintptr) {
		n := int(fd)
		if domain, askErr = unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_DOMAIN); askErr != nil {
			return
		}
		if typ, askErr = unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_TYPE); askErr != nil {
			return
		}
		if domain != unix.AF_UNIX && typ == unix.SOCK_STREAM {
			before, askErr = askTCP(n)
		}
		// getpeername(2): ENOTCONN. A Unix socket whose other end is closed still has it (net/unix/af_unix.c).
		_, peerErr = unix.Getpeername(n)
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("listener: rebuild a connection: %w", err)
	case errors.Is(askErr, unix.ENOTSOCK):
		return nil, wrongType("the descriptor is no socket", wantConn, ErrNotSocket)
	case askErr != nil:
		return nil, fmt.Errorf("listener: rebuild a connection: %w", os.NewSyscallError("getsockopt", askErr))
	case typ == unix.SOCK_DGRAM || domain != unix.AF_UNIX && domain != unix.AF_INET && domain != unix.AF_INET6:
		return nil, wrongType(fmt.Sprintf("a socket of domain %d, type %d", domain, typ), wantConn, ErrSocketType)
	case errors.Is(peerErr, unix.ENOTCONN):
		return nil, wrongType("the socket has no other end", wantConn, ErrNotConnected)
	case peerErr != nil:
		return nil, fmt.Errorf("listener: rebuild a connection: %w", os.NewSyscallError("getpeername", peerErr))
	}
	own, err := Dup(f)
	if err != nil {
		return nil, err
	}
	file := own.File("connection")
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("listener: rebuild a connection (is RLIMIT_NOFILE reached?): %w", err)
	}
	switch c := c.(type) {
	case *net.TCPConn:
		before.restore(c)
	case *net.UnixConn:
	default:
		_ = c.Close()
		return nil, wrongType(fmt.Sprintf("the socket became a %T", c), wantConn, ErrSocketType)
	}
	_ = f.Close() // the socket lives on in c; there is nothing to undo
	return c, nil
}

const wantConn = "a connected tcp, unix or unixpacket socket"

// tcpOptions are the options of a socket that package net changes when it makes a TCPConn of it.
type tcpOptions struct{ noDelay, keepAlive, idle, interval, count int }

// netTCPOptions are what package net sets.
var netTCPOptions = tcpOptions{noDelay: 1, keepAlive: 1, idle: 15, interval: 15, count: 9}

func askTCP(fd int) (o tcpOptions, err error) {
	for _, q := range []struct {
		level, opt int
		value      *int
	}{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, &o.noDelay},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, &o.keepAlive},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, &o.idle},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, &o.interval},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, &o.count},
	} {
		if *q.value, err = unix.GetsockoptInt(fd, q.level, q.opt); err != nil {
			return o, err
		}
	}
	return o, nil
}

// restore undoes what package net has done to c. Errors are ignored, as package net does: a peer that has reset the
// connection is for the reader to find.
func (o tcpOptions) restore(c *net.TCPConn) {
	if o == netTCPOptions {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		for _, q := range []struct{ level, opt, value, was int }{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, o.noDelay, netTCPOptions.noDelay},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, o.idle, netTCPOptions.idle},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, o.interval, netTCPOptions.interval},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, o.count, netTCPOptions.count},
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, o.keepAlive, netTCPOptions.keepAlive},
		} {
			if q.value != q.was {
				_ = unix.SetsockoptInt(int(fd), q.level, q.opt, q.value)
			}
		}
	})
}
