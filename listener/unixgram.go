package listener

import (
	"net"
	"os"
	"syscall"
	"time"
)

// UnixgramConn is a [net.UnixConn] of type unixgram whose reads can be paused; they then block, and return no error.
// Writes are always free, also while paused. Any number of goroutines may call any of the methods. The zero value is a
// closed socket.
//
// Reading from the embedded connection itself goes round the gate, and fails with deadline errors while paused.
type UnixgramConn struct {
	*net.UnixConn
	packet
}

// Read is [net.UnixConn.Read], and waits while paused.
func (c *UnixgramConn) Read(b []byte) (int, error) {
	for {
		epoch, err := c.gate.enter()
		if err != nil {
			return 0, c.readError("read", err)
		}
		n, err := c.UnixConn.Read(b)
		if !c.gate.leave(epoch, err) {
			return n, err
		}
	}
}

// ReadFrom is [net.UnixConn.ReadFrom], and waits while paused.
func (c *UnixgramConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		epoch, err := c.gate.enter()
		if err != nil {
			return 0, nil, c.readError("read", err)
		}
		n, addr, err := c.UnixConn.ReadFrom(b)
		if !c.gate.leave(epoch, err) {
			return n, addr, err
		}
	}
}

// ReadFromUnix is [net.UnixConn.ReadFromUnix], and waits while paused.
func (c *UnixgramConn) ReadFromUnix(b []byte) (int, *net.UnixAddr, error) {
	for {
		epoch, err := c.gate.enter()
		if err != nil {
			return 0, nil, c.readError("read", err)
		}
		n, addr, err := c.UnixConn.ReadFromUnix(b)
		if !c.gate.leave(epoch, err) {
			return n, addr, err
		}
	}
}

// ReadMsgUnix is [net.UnixConn.ReadMsgUnix], and waits while paused.
func (c *UnixgramConn) ReadMsgUnix(b, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error) {
	for {
		epoch, err := c.gate.enter()
		if err != nil {
			return 0, 0, 0, nil, c.readError("read", err)
		}
		n, oobn, flags, addr, err = c.UnixConn.ReadMsgUnix(b, oob)
		if !c.gate.leave(epoch, err) {
			return n, oobn, flags, addr, err
		}
	}
}

// SetDeadline sets the deadlines of reads and writes. That of reads holds also while paused.
func (c *UnixgramConn) SetDeadline(t time.Time) error { return c.setDeadline(t) }

// SetReadDeadline sets the deadline of reads, also while paused.
func (c *UnixgramConn) SetReadDeadline(t time.Time) error { return c.setReadDeadline(t) }

// SyscallConn gives access to the socket. Read of the RawConn waits while paused; Write and Control do not.
func (c *UnixgramConn) SyscallConn() (syscall.RawConn, error) { return c.syscallConn() }

// File copies the descriptor into an [os.File], which the caller closes. In contrast to that of package net, its Fd
// does not make the socket blocking for every process that holds it. Linux only.
func (c *UnixgramConn) File() (*os.File, error) { return c.file() }

// Close closes the socket, and removes its file before, if UnlinkOnClose. Blocked reads return [net.ErrClosed], and so
// does a second Close.
func (c *UnixgramConn) Close() error { return c.close(true) }
