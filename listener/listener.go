package listener

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// Options say how to treat a socket beyond what the kernel remembers of it.
type Options struct {
	// KeepAlive and KeepAliveConfig mean what they mean in net.ListenConfig. They apply to connections that a rebuilt
	// listener accepts: net.FileListener forgets what the one before it was made with. The zero values stand for the
	// defaults of package net, which are to enable keep-alive.
	KeepAlive       time.Duration
	KeepAliveConfig net.KeepAliveConfig

	// Unlink is the socket file that Close removes. Nil: it removes nothing.
	Unlink *UnixPath
}

// Pausable is what [Listener], [UDPConn] and [UnixgramConn] have in common, so that all can be switched together.
// The methods may be called at any time, concurrently with each other and with Accept and the reads. After Close or
// Discard they return an error that is [net.ErrClosed].
type Pausable interface {
	Arm() error     // make ready to open: what can fail for want of descriptors happens here
	Open() error    // arm if need be, and let the blocked calls go on
	Pause() error   // hold new calls, wake those in flight, return when there is none
	Park() error    // pause, and leave the poller where that is possible
	Discard() error // close, and leave the socket file in its place
	Close() error   // close, and remove the socket file, if it is ours and still there
	SetUnlinkOnClose(unlink bool)
	UnlinkOnClose() bool
	syscall.Conn
}

var (
	_ net.Listener = (*Listener)(nil)
	_ Pausable     = (*Listener)(nil)
)

// Listener is a [net.Listener] for TCP, unix and unixpacket sockets that can be paused: Accept then blocks, and returns
// no error, until the listener is opened again or closed. Any number of goroutines may call any of the methods.
//
// Accepted connections are genuine *net.TCPConn and *net.UnixConn. While open, an Accept costs two atomic additions
// more than that of the listener inside. The zero value is a closed listener.
type Listener struct {
	addr      net.Addr
	keepAlive keepAlive // what Options ask for; zero for sockets that are no TCP
	unlink    atomic.Pointer[UnixPath]
	unlinkOn  atomic.Bool

	gate    gate
	ln      netListener // in flight: read freely. Written under op and mu, while the gate is shut and nothing in flight
	rebuilt bool        // ln comes from net.FileListener; guarded like ln
	bare    *FD         // the socket while parked, else nil; written under op and mu
	pending []net.Conn  // set aside by Retire, for Accept to return; guarded by mu
}

// netListener is what *net.TCPListener and *net.UnixListener have in common.
type netListener interface {
	net.Listener
	syscall.Conn
	SetDeadline(time.Time) error
}

// New takes l, which is a *net.TCPListener or a *net.UnixListener, and starts paused. On error l stays the caller's;
// the error for other types is [ErrSocketType].
//
// From here on l must not be used otherwise: its deadline is the gate's, and it no longer unlinks its path by itself.
func New(l net.Listener, o Options) (*Listener, error) {
	var inner netListener
	switch l := l.(type) {
	case *net.TCPListener:
		if l != nil {
			inner = l
		}
	case *net.UnixListener:
		if l != nil {
			inner = l
		}
	}
	if inner == nil {
		return nil, wrongType(fmt.Sprintf("cannot pause a %T", l), "the *net.TCPListener or *net.UnixListener inside", ErrSocketType)
	}
	nl := newListener(inner.Addr(), o)
	if err := nl.gate.init(inner.SetDeadline); err != nil {
		return nil, fmt.Errorf("listener: pause the new listener: %w", err)
	}
	if u, ok := inner.(interface{ SetUnlinkOnClose(bool) }); ok {
		u.SetUnlinkOnClose(false)
	}
	nl.ln = inner
	return nl, nil
}

// FromFD takes f, a listening stream or seqpacket socket, and starts parked. On error f stays the caller's.
//
// It fails with [ErrNotSocket], [ErrSocketType] or [ErrNotListening], and changes nothing on the socket yet: a program in
// another language, which shares it and whose accept blocks, goes on until [Listener.Arm], which sets O_NONBLOCK for all.
// Linux only: elsewhere the error is [errors.ErrUnsupported].
func FromFD(f *FD, o Options) (*Listener, error) {
	info, err := checkListener(f)
	if err != nil {
		return nil, err
	}
	addr, err := info.netAddr()
	if err != nil {
		return nil, err
	}
	l := newListener(addr, o)
	_ = l.gate.init(nil)
	l.bare = f
	return l, nil
}

func newListener(addr net.Addr, o Options) *Listener {
	l := &Listener{addr: addr}
	if _, ok := addr.(*net.TCPAddr); ok {
		l.keepAlive = o.keepAlive()
	}
	if o.Unlink != nil {
		u := *o.Unlink
		l.unlink.Store(&u)
		l.unlinkOn.Store(true)
	}
	return l
}

// Accept waits until the listener is open and a connection comes. The caller closes the connection.
//
// It blocks while the listener is paused or parked. The error is a *net.OpError as from package net: of
// [os.ErrDeadlineExceeded] past the deadline, in any state, and of [net.ErrClosed] after Close or Discard. On Linux, a want of
// descriptors is an error only when a client waits: accept(2) says it of an empty queue too, and so each pause, which wakes
// Accept, would end the loop of a program that takes any error for the end.
func (l *Listener) Accept() (net.Conn, error) {
	retry := minRetry
	for {
		epoch, err := l.gate.enter()
		if err != nil {
			if errors.Is(err, errHandout) {
				return l.handout(), nil
			}
			return nil, opError("accept", l.addr, err)
		}
		c, err := l.ln.Accept()
		rebuilt := l.rebuilt
		idle := err != nil && lacksDescriptors(err) && emptyQueue(l.ln)
		if l.gate.leave(epoch, err) {
			continue
		}
		if idle {
			l.gate.rest(retry)
			retry = min(2*retry, maxRetry)
			continue
		}
		if err != nil {
			return nil, err
		}
		if rebuilt {
			l.keepAlive.apply(c)
		}
		return c, nil
	}
}

// minRetry and maxRetry bound how long Accept waits before it tries again without a descriptor. The runtime's poller cannot wait
// for a client without accepting it.
const (
	minRetry = 5 * time.Millisecond
	maxRetry = 100 * time.Millisecond
)

// Addr returns the address of the socket, in each state, also after Close.
func (l *Listener) Addr() net.Addr { return l.addr }

// SetDeadline bounds Accept, also while the listener is paused or parked, and stays in force across all states. Zero
// means no deadline.
func (l *Listener) SetDeadline(t time.Time) error {
	if err := l.gate.setDeadline(t); err != nil {
		return opError("set", l.addr, err)
	}
	return nil
}

// Arm makes a parked listener a paused one: it rebuilds the net.Listener, which enters the poller. That needs three
// descriptors for a moment where there was one, so it can fail; the listener is then still parked. In other states it
// does nothing.
func (l *Listener) Arm() error {
	l.gate.op.Lock()
	defer l.gate.op.Unlock()
	if err := l.arm(); err != nil {
		return opError("arm", l.addr, err)
	}
	return nil
}

// arm is Arm with op held.
func (l *Listener) arm() error {
	if !l.gate.live {
		return net.ErrClosed
	}
	if l.vacant() {
		return net.ErrClosed
	}
	if l.bare == nil {
		return nil
	}
	ln, err := rebuildListener(l.bare)
	if err != nil {
		return err
	}
	if err := ln.SetDeadline(aLongTimeAgo); err != nil {
		_ = ln.Close()
		return err
	}
	bare := l.bare
	l.gate.mu.Lock()
	l.ln, l.rebuilt, l.bare = ln, true, nil
	l.gate.apply = ln.SetDeadline
	l.gate.mu.Unlock()
	_ = bare.Close() // the socket lives on in ln; there is nothing to undo
	return nil
}

// Open arms a parked listener and lets the blocked calls of Accept go on. On error the listener is parked or paused.
func (l *Listener) Open() error {
	l.gate.op.Lock()
	defer l.gate.op.Unlock()
	err := l.arm()
	if err == nil {
		err = l.gate.open()
	}
	if err != nil {
		return opError("open", l.addr, err)
	}
	return nil
}

// Pause holds Accept, and returns when no accept(2) of this listener is in flight. A connection that such a call got
// nevertheless is returned by it, not lost. In the paused and the parked state Pause does nothing.
//
// If it fails with [ErrStuck] after some seconds, the listener is paused, but a call is still in flight.
func (l *Listener) Pause() error {
	l.gate.op.Lock()
	defer l.gate.op.Unlock()
	if err := l.gate.pause(); err != nil {
		return opError("pause", l.addr, err)
	}
	return nil
}

// Park pauses, and takes the socket out of the runtime's poller: what is left is a bare descriptor. A holder that
// stays in epoll would be woken for connections that it does not accept, and cost the one who accepts. On error, which
// is [ErrStuck] or a want of descriptors, the listener is paused. Linux only: elsewhere it is paused, and the error is
// [errors.ErrUnsupported].
func (l *Listener) Park() error {
	l.gate.op.Lock()
	defer l.gate.op.Unlock()
	if err := l.park(); err != nil {
		return opError("park", l.addr, err)
	}
	return nil
}

func (l *Listener) park() error {
	if err := l.gate.pause(); err != nil || l.ln == nil {
		return err
	}
	bare, err := Dup(l.ln)
	if err != nil {
		return err
	}
	ln := l.ln
	l.gate.mu.Lock()
	l.ln, l.bare = nil, bare
	l.gate.apply = nil
	l.gate.mu.Unlock()
	_ = ln.Close() // removes it from epoll before close(2), whose error would change nothing
	return nil
}

// SetUnlinkOnClose says whether Close removes the file of Options.Unlink. It does so at first, if there is one.
func (l *Listener) SetUnlinkOnClose(unlink bool) { l.unlinkOn.Store(unlink) }

// Unlink removes the socket file now, as Close would: if it is still the one that the bind made, whatever its mode and
// owner are by now. Nobody new finds the socket then. It does nothing without UnlinkOnClose.
func (l *Listener) Unlink() error {
	l.gate.op.Lock()
	defer l.gate.op.Unlock()
	if !l.gate.live {
		return opError("unlink", l.addr, net.ErrClosed)
	}
	if !l.UnlinkOnClose() {
		return nil
	}
	if err := l.unlink.Load().remove(!l.vacant()); err != nil {
		return opError("unlink", l.addr, err)
	}
	return nil
}

// UnlinkOnClose reports whether Close removes a socket file.
func (l *Listener) UnlinkOnClose() bool { return l.unlink.Load() != nil && l.unlinkOn.Load() }

// Close closes the listener in any state, and removes its socket file before, if UnlinkOnClose. Blocked calls of
// Accept return [net.ErrClosed], and so does a second Close.
func (l *Listener) Close() error { return l.close(true) }

// Discard closes the listener as Close does, and leaves the socket file to the process that holds the socket now.
func (l *Listener) Discard() error { return l.close(false) }

func (l *Listener) close(unlink bool) error {
	l.gate.op.Lock()
	defer l.gate.op.Unlock()
	if !l.gate.close() {
		return opError("close", l.addr, net.ErrClosed)
	}
	var unlinkErr error
	if unlink && l.UnlinkOnClose() {
		unlinkErr = l.unlink.Load().remove(!l.vacant())
	}
	l.dropPending()
	closeErr := l.bare.Close()
	if l.ln != nil {
		closeErr = l.ln.Close()
	}
	if closeErr != nil {
		return closeErr
	}
	if unlinkErr != nil {
		return opError("close", l.addr, unlinkErr)
	}
	return nil
}

// SyscallConn gives access to the socket by Control, in each state but closed; Read and Write fail, as they do for the
// listeners of package net.
func (l *Listener) SyscallConn() (syscall.RawConn, error) {
	if _, ok := l.carrier(); !ok {
		return nil, opError("raw-control", l.addr, net.ErrClosed)
	}
	return rawListener{l}, nil
}

// carrier is what holds the socket at the moment.
func (l *Listener) carrier() (syscall.Conn, bool) {
	l.gate.mu.Lock()
	defer l.gate.mu.Unlock()
	switch {
	case !l.gate.live:
		return nil, false
	case l.bare != nil:
		return l.bare, true
	case l.ln != nil:
		return l.ln, true
	default:
		return nil, false
	}
}
