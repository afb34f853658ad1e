package listener

import "net"

// Reset gives a listener whose socket Vacate or Retire has closed another one, bound to the same address: ln, which it
// takes, and unlink, the file that ln's bind has made, or nil. The listener stays paused. On error ln stays the caller's;
// it is [ErrSocketType] for what New does not take, and net.ErrClosed if the listener was closed or has a socket.
func (l *Listener) Reset(ln net.Listener, unlink *UnixPath) error {
	l.gate.op.Lock()
	defer l.gate.op.Unlock()
	if !l.gate.live || !l.vacant() {
		return opError("reset", l.addr, net.ErrClosed)
	}
	fresh, err := New(ln, Options{})
	if err != nil {
		return err
	}
	l.gate.mu.Lock()
	defer l.gate.mu.Unlock()
	l.ln, l.rebuilt, l.gate.apply = fresh.ln, false, fresh.ln.SetDeadline
	if unlink != nil {
		u := *unlink
		unlink = &u
	}
	l.unlink.Store(unlink)
	return nil
}
