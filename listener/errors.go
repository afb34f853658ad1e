package listener

import (
	"errors"
	"fmt"
	"net"
)

var (
	// ErrNotSocket is returned for a descriptor that is no socket: a file, a pipe, an eventfd.
	ErrNotSocket = errors.New("not a socket")

	// ErrSocketType is returned for a socket of a kind that cannot be used here: a datagram socket where a listener is
	// asked for, a stream socket where a packet socket is, or one of a family that package net does not know.
	ErrSocketType = errors.New("wrong type of socket")

	// ErrNotListening is returned for a socket on which nobody called listen(2), be it connected, bound or neither.
	// net.FileListener would take it, and fail at the first Accept.
	ErrNotListening = errors.New("socket is not listening")

	// ErrNotConnected is returned for a socket that has no other end, because it never had one or the other side has reset
	// the connection.
	ErrNotConnected = errors.New("socket is not connected")

	// ErrEmpty is returned by [Listener.Queued] when no connection waits.
	ErrEmpty = errors.New("no connection is waiting")

	// ErrNotPaused is returned by [Listener.Queued] while the listener is open: Accept takes what waits.
	ErrNotPaused = errors.New("listener is open; pause it first")

	// ErrStuck is returned by Pause and Park if a call in flight does not come back. The gate is shut nevertheless;
	// Pause can be called again, or Open. As a past deadline wakes all that wait in the poller, somebody has most
	// likely cleared O_NONBLOCK on the shared socket, by (*os.File).Fd or exec.Cmd.ExtraFiles, in any process.
	ErrStuck = errors.New("a call in flight does not return; has O_NONBLOCK been cleared on the socket?")
)

// errNoPoller is what a descriptor outside the poller answers to whoever would wait for it.
var errNoPoller = fmt.Errorf("listener: a bare descriptor cannot be waited for: %w", errors.ErrUnsupported)

// wrongType says what was given where something else belongs.
func wrongType(what, want string, err error) error {
	return fmt.Errorf("listener: %s, want %s: %w", what, want, err)
}

// opError gives errors the shape that those of package net have, so that code above sees no difference.
func opError(op string, addr net.Addr, err error) error {
	network := ""
	if addr != nil {
		network = addr.Network()
	}
	return &net.OpError{Op: op, Net: network, Addr: addr, Err: err}
}
