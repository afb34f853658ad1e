package handoff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/segue-go/segue/handoff/internal/sockets"
)

// Give hands a live connection to the successor, or to the predecessor if that got the sockets back (see
// [Generation.Fail]). The program there gets it from [Generation.Take] with the same name, and with
// state: at most 32 KiB of the program's own, which say where the connection stands. It is for the drain function of
// [Generation.Wait], and whenever this generation is superseded. Give may be called thousands of times, by one goroutine or
// many: connections are sent in batches, and no call waits for the successor. Wait does, before it returns.
//
// c is a *net.TCPConn or *net.UnixConn, or has one of these inside, by methods NetConn() net.Conn. A TLS connection is
// refused with an error that is [errors.ErrUnsupported]: its keys cannot move. Nobody may read from c or write to it any
// more when Give is called, and what was read and not used belongs into state. Give copies state, and takes the connection
// inside of c; once the successor has it, that is closed without a word to the client, and what wraps it is left as it is. On
// an error, which may be [ErrNoSuccessor], c is still the caller's, and deadlines are removed. If this generation has ended,
// it is net.ErrClosed as well.
//
// If the successor ends before it has the connection, this generation's own Take returns it, with its state. ctx is only
// looked at when Give begins.
func (g *Generation) Give(ctx context.Context, name string, c net.Conn, state []byte) error {
	return g.errorf("give", g.give(ctx, name, c, state))
}

func (g *Generation) give(ctx context.Context, name string, c net.Conn, state []byte) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := sockets.CheckName(name); err != nil {
		return err
	}
	err := g.driver.Conns.Give(name, c, state)
	if err != nil && g.currentPhase() == PhaseStopped {
		err = fmt.Errorf("%w: %w", err, net.ErrClosed)
	}
	return err
}

// Take returns a connection that the predecessor gave under this name, and its state. It waits for one until ctx ends. A
// program calls it in a loop, like Accept, from when it is ready to serve what it returns: also in the first generation,
// because what this generation has given comes back here if its successor ends before it has it. The connection is the
// caller's, a *net.TCPConn or *net.UnixConn with the options that it had.
//
// The error is [io.EOF] once nothing comes any more, because this generation has ended: Wait has returned, or Close was
// called. Connections that nobody has taken go on to the next successor, or are closed with the last generation. Unless
// ctx has ended, any other error means that a connection cannot be made just now, for want of descriptors: it is kept,
// and Take is to be called again after a pause. At once, it would give the same error. If the predecessor has sent something
// else than a connection, that is closed, and Take gives an error once.
func (g *Generation) Take(ctx context.Context, name string) (net.Conn, []byte, error) {
	c, state, err := g.driver.Conns.Take(ctx, name)
	if errors.Is(err, io.EOF) {
		return nil, nil, io.EOF // bare, as readers expect
	}
	return c, state, g.errorf("take", err)
}
