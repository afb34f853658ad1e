package listener

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Packet is a packet socket whose reads can be paused: a [*UDPConn] or a [*UnixgramConn].
type Packet interface {
	net.PacketConn
	Pausable
}

var (
	_ Packet = (*UDPConn)(nil)
	_ Packet = (*UnixgramConn)(nil)
)

// NewPacket takes c, which is a *net.UDPConn or a *net.UnixConn of type unixgram, and starts paused. On error c stays
// the caller's; the error for other types is [ErrSocketType]. From here on c must not be read from otherwise.
func NewPacket(c net.PacketConn, o Options) (Packet, error) {
	switch c := c.(type) {
	case *net.UDPConn:
		if c == nil {
			break
		}
		u := &UDPConn{UDPConn: c}
		if err := u.init(c, o); err != nil {
			return nil, err
		}
		return u, nil
	case *net.UnixConn:
		if c == nil || c.LocalAddr().Network() != "unixgram" {
			break
		}
		u := &UnixgramConn{UnixConn: c}
		if err := u.init(c, o); err != nil {
			return nil, err
		}
		return u, nil
	}
	return nil, wrongType(fmt.Sprintf("cannot pause a %T", c), "a *net.UDPConn, or a *net.UnixConn of type unixgram", ErrSocketType)
}

// PacketFromFD takes f, a UDP or Unix datagram socket, and starts paused. On error f stays the caller's: it fails with
// [ErrNotSocket] or [ErrSocketType], or for want of descriptors. Linux only: elsewhere the error is
// [errors.ErrUnsupported].
func PacketFromFD(f *FD, o Options) (Packet, error) {
	c, err := rebuildPacket(f)
	if err != nil {
		return nil, err
	}
	p, err := NewPacket(c, o)
	if err != nil {
		_ = c.Close() // a copy; f is untouched
		return nil, err
	}
	_ = f.Close() // the socket lives on in p
	return p, nil
}

// packetConn is what *net.UDPConn and *net.UnixConn have in common.
type packetConn interface {
	net.PacketConn
	net.Conn
	syscall.Conn
}

// packet is what pausable packet sockets have in common. Their methods for reading differ too much to be shared.
type packet struct {
	conn     packetConn
	gate     gate
	unlink   *UnixPath
	unlinkOn atomic.Bool
}

func (p *packet) init(c packetConn, o Options) error {
	if err := p.gate.init(c.SetReadDeadline); err != nil {
		return fmt.Errorf("listener: pause the new packet socket: %w", err)
	}
	p.conn = c
	if o.Unlink != nil {
		u := *o.Unlink
		p.unlink = &u
		p.unlinkOn.Store(true)
	}
	return nil
}

// Arm does nothing: a packet socket stays in the poller.
func (p *packet) Arm() error {
	p.gate.op.Lock()
	defer p.gate.op.Unlock()
	if !p.gate.live {
		return p.error("arm", net.ErrClosed)
	}
	return nil
}

// Open lets the blocked reads go on.
func (p *packet) Open() error {
	p.gate.op.Lock()
	defer p.gate.op.Unlock()
	if err := p.gate.open(); err != nil {
		return p.error("open", err)
	}
	return nil
}

// Pause holds the reads, and returns when none is in flight. A datagram that one of them got nevertheless is returned
// by it. Writes go on. [ErrStuck] as for [Listener.Pause].
func (p *packet) Pause() error {
	p.gate.op.Lock()
	defer p.gate.op.Unlock()
	if err := p.gate.pause(); err != nil {
		return p.error("pause", err)
	}
	return nil
}

// Park is Pause: the socket stays in the poller, as writes go on.
func (p *packet) Park() error { return p.Pause() }

// Discard closes the socket and leaves its file.
func (p *packet) Discard() error { return p.close(false) }

// SetUnlinkOnClose says whether Close removes the file of Options.Unlink. It does so at first, if there is one.
func (p *packet) SetUnlinkOnClose(unlink bool) { p.unlinkOn.Store(unlink) }

// UnlinkOnClose reports whether Close removes a socket file.
func (p *packet) UnlinkOnClose() bool { return p.unlink != nil && p.unlinkOn.Load() }

func (p *packet) close(unlink bool) error {
	p.gate.op.Lock()
	defer p.gate.op.Unlock()
	if !p.gate.close() {
		return p.error("close", net.ErrClosed)
	}
	var unlinkErr error
	if unlink && p.UnlinkOnClose() {
		unlinkErr = p.unlink.remove(true)
	}
	if err := p.conn.Close(); err != nil {
		return err
	}
	if unlinkErr != nil {
		return p.error("close", unlinkErr)
	}
	return nil
}

func (p *packet) setDeadline(t time.Time) error {
	if err := p.setReadDeadline(t); err != nil {
		return err
	}
	return p.conn.SetWriteDeadline(t)
}

func (p *packet) setReadDeadline(t time.Time) error {
	if err := p.gate.setDeadline(t); err != nil {
		return p.error("set", err)
	}
	return nil
}

func (p *packet) syscallConn() (syscall.RawConn, error) {
	if p.conn == nil {
		return nil, syscall.EINVAL
	}
	raw, err := p.conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	return rawPacket{raw, p}, nil
}

func (p *packet) error(op string, err error) error {
	if p.conn == nil {
		return opError(op, nil, err)
	}
	return opError(op, p.conn.LocalAddr(), err)
}

// readError has the addresses where package net has them for reads.
func (p *packet) readError(op string, err error) error {
	if p.conn == nil {
		return opError(op, nil, err)
	}
	local := p.conn.LocalAddr()
	return &net.OpError{Op: op, Net: local.Network(), Source: local, Addr: p.conn.RemoteAddr(), Err: err}
}

func (p *packet) file() (*os.File, error) {
	if p.conn == nil {
		return nil, syscall.EINVAL
	}
	fd, err := Dup(p.conn)
	if err != nil {
		return nil, err
	}
	addr := p.conn.LocalAddr()
	return fd.File(addr.Network() + ":" + addr.String()), nil
}
