package listener

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// UDPConn is a [net.UDPConn] whose reads can be paused; they then block, and return no error. Writes are always free,
// also while paused. Any number of goroutines may call any of the methods. The zero value is a closed socket.
//
// Reading from the embedded connection itself goes round the gate, and fails with deadline errors while paused.
type UDPConn struct {
	*net.UDPConn
	packet
}

// Read is [net.UDPConn.Read], and waits while paused.
func (c *UDPConn) Read(b []byte) (int, error) {
	for {
		epoch, err := c.gate.enter()
		if err != nil {
			return 0, c.readError("read", err)
		}
		n, err := c.UDPConn.Read(b)
		if !c.gate.leave(epoch, err) {
			return n, err
		}
	}
}

// ReadFrom is [net.UDPConn.ReadFrom], and waits while paused.
func (c *UDPConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		epoch, err := c.gate.enter()
		if err != nil {
			return 0, nil, c.readError("read", err)
		}
		n, addr, err := c.UDPConn.ReadFrom(b)
		if !c.gate.leave(epoch, err) {
			return n, addr, err
		}
	}
}

// ReadFromUDP is [net.UDPConn.ReadFromUDP], and waits while paused.
func (c *UDPConn) ReadFromUDP(b []byte) (int, *net.UDPAddr, error) {
	for {
		epoch, err := c.gate.enter()
		if err != nil {
			return 0, nil, c.readError("read", err)
		}
		n, addr, err := c.UDPConn.ReadFromUDP(b)
		if !c.gate.leave(epoch, err) {
			return n, addr, err
		}
	}
}

// ReadFromUDPAddrPort is [net.UDPConn.ReadFromUDPAddrPort], and waits while paused.
func (c *UDPConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		epoch, err := c.gate.enter()
		if err != nil {
			return 0, netip.AddrPort{}, c.readError("read", err)
		}
		n, addr, err := c.UDPConn.ReadFromUDPAddrPort(b)
		if !c.gate.leave(epoch, err) {
			return n, addr, err
		}
	}
}

// ReadMsgUDP is [net.UDPConn.ReadMsgUDP], and waits while paused.
func (c *UDPConn) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	for {
		epoch, err := c.gate.enter()
		if err != nil {
			return 0, 0, 0, nil, c.readError("read", err)
		}
		n, oobn, flags, addr, err = c.UDPConn.ReadMsgUDP(b, oob)
		if !c.gate.leave(epoch, err) {
			return n, oobn, flags, addr, err
		}
	}
}

// ReadMsgUDPAddrPort is [net.UDPConn.ReadMsgUDPAddrPort], and waits while paused.
func (c *UDPConn) ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error) {
	for {
		epoch, err := c.gate.enter()
		if err != nil {
			return 0, 0, 0, netip.AddrPort{}, c.readError("read", err)
		}
		n, oobn, flags, addr, err = c.UDPConn.ReadMsgUDPAddrPort(b, oob)
		if !c.gate.leave(epoch, err) {
			return n, oobn, flags, addr, err
		}
	}
}

// SetDeadline sets the deadlines of reads and writes. That of reads holds also while paused.
func (c *UDPConn) SetDeadline(t time.Time) error { return c.setDeadline(t) }

// SetReadDeadline sets the deadline of reads, also while paused.
func (c *UDPConn) SetReadDeadline(t time.Time) error { return c.setReadDeadline(t) }

// SyscallConn gives access to the socket. Read of the RawConn waits while paused; Write and Control do not.
func (c *UDPConn) SyscallConn() (syscall.RawConn, error) { return c.syscallConn() }

// File copies the descriptor into an [os.File], which the caller closes. In contrast to that of package net, its Fd
// does not make the socket blocking for every process that holds it. Linux only.
func (c *UDPConn) File() (*os.File, error) { return c.file() }

// Close closes the socket. Blocked reads return [net.ErrClosed], and so does a second Close.
func (c *UDPConn) Close() error { return c.close(true) }
