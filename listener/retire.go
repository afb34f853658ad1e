package listener

import (
	"errors"
	"net"
)

// errHandout is how the gate tells Accept that a connection waits in pending.
var errHandout = errors.New("a connection was set aside")

// Vacate pauses, and closes the descriptor but not the listener: Accept blocks on, until Close or Discard. It is for a
// socket that another process goes on to serve, or nobody: the kernel closes a listening socket with its last
// descriptor. Open then returns an error that is [net.ErrClosed]. A second Vacate does nothing.
func (l *Listener) Vacate() error {
	l.gate.op.Lock()
	defer l.gate.op.Unlock()
	if err := l.gate.pause(); err != nil {
		return opError("vacate", l.addr, err)
	}
	return l.vacate()
}

// Retire is Vacate for a socket that nobody serves any more: the connections that wait in its queue are accepted first.
// Accept returns them, and blocks only then. A connection whose handshake is under way at that moment is reset.
//
// On error, which is most likely a want of descriptors, the listener is paused and still has its socket: try again, or
// give up what waits by Vacate.
func (l *Listener) Retire() error {
	l.gate.op.Lock()
	defer l.gate.op.Unlock()
	if err := l.gate.pause(); err != nil {
		return opError("retire", l.addr, err)
	}
	if l.vacant() {
		return nil
	}
	var conns []net.Conn
	err := l.arm()
	for err == nil {
		var c net.Conn
		if c, err = acceptQueued(l.ln); err == nil {
			if l.rebuilt {
				l.keepAlive.apply(c)
			}
			conns = append(conns, c)
		}
	}
	l.gate.mu.Lock()
	l.pending = append(l.pending, conns...)
	l.gate.handouts += len(conns)
	l.gate.notify()
	l.gate.mu.Unlock()
	if !errors.Is(err, ErrEmpty) {
		return err
	}
	return l.vacate()
}

// vacant reports whether there is no descriptor left. Callers hold op.
func (l *Listener) vacant() bool { return l.ln == nil && l.bare == nil }

// vacate closes the descriptor. Callers hold op, and have paused.
func (l *Listener) vacate() error {
	ln, bare := l.ln, l.bare
	l.gate.mu.Lock()
	l.ln, l.bare, l.gate.apply = nil, nil, nil
	l.gate.mu.Unlock()
	if ln != nil {
		return ln.Close()
	}
	return bare.Close()
}

// handout returns the connection that a call was sent for by errHandout.
func (l *Listener) handout() net.Conn {
	l.gate.mu.Lock()
	defer l.gate.mu.Unlock()
	c := l.pending[0]
	l.pending = l.pending[1:]
	return c
}

// dropPending closes what nobody has come for. Callers hold op.
func (l *Listener) dropPending() {
	l.gate.mu.Lock()
	n := l.gate.handouts // the rest is promised to calls that are on their way
	l.gate.handouts = 0
	conns := l.pending[len(l.pending)-n:]
	l.pending = l.pending[:len(l.pending)-n]
	l.gate.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}
