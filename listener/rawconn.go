package listener

import (
	"errors"
	"net"
	"syscall"
)

// rawListener is the RawConn of a Listener. It follows the socket in and out of the poller.
type rawListener struct{ l *Listener }

// Control lends whatever carries the socket now. No lock is held meanwhile, so fn may be slow, and may use the
// listener; a carrier that is closed under it, because the listener is parked or armed, stays open until fn returns.
func (r rawListener) Control(fn func(fd uintptr)) error {
	var last syscall.Conn
	for {
		c, ok := r.l.carrier()
		if !ok {
			return opError("raw-control", r.l.addr, net.ErrClosed)
		}
		called := false
		raw, err := c.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) {
				called = true
				fn(fd)
			})
		}
		if err == nil || called || c == last || !errors.Is(err, net.ErrClosed) {
			return err
		}
		last = c // between carrier and Control the socket moved on: ask once more
	}
}

func (r rawListener) Read(func(fd uintptr) bool) error  { return syscall.EINVAL }
func (r rawListener) Write(func(fd uintptr) bool) error { return syscall.EINVAL }

// rawPacket is the RawConn of a packet socket: Read waits at the gate, Write and Control are free.
type rawPacket struct {
	syscall.RawConn
	p *packet
}

func (r rawPacket) Read(fn func(fd uintptr) bool) error {
	for {
		epoch, err := r.p.gate.enter()
		if err != nil {
			return r.p.readError("raw-read", err)
		}
		err = r.RawConn.Read(fn)
		if r.p.gate.leave(epoch, err) {
			continue
		}
		return err
	}
}
