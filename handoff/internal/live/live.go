// Package live has what packages handoff and serve say to each other about connections that move: which ones leave a
// generation, which ones arrive in it; and about requests, which a [Holder] stops while the state of a generation
// moves.
//
// A [Server], in serve, tracks connections that clients have made. The [Exchange], one of each generation, knows all
// servers and where connections go: through a [Departure] to the successor, and from the predecessor by way of the
// [Lot], in which they are parked until a client says something, to a server of the same name.
package live

import (
	"context"
	"net"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/wire"
)

// Conn is a connection on its way out. It leaves when Leave returns true, or with a Move that does; exactly one of Moved and
// Kept follows then, and until it does nobody reads from the connection.
type Conn interface {
	// Leave is called when the turn of a connection that is to be asked has come. It returns false if the connection cannot
	// leave now; as soon as it can, it is given to Move.
	Leave() bool
	// SyscallConn gives the descriptor, which is borrowed to send it.
	syscall.Conn
	// Position says where the connection stands. It is called once or more before Moved or Kept.
	Position() Position
	// Moved says that the successor has it. The connection's own copy is to be closed at once, without a word to the
	// client.
	Moved()
	// Kept says that the connection stays in this process after all: nobody else has a copy of it.
	Kept()
}

// Position is where a connection stands between two requests.
type Position struct {
	// Expires is when the connection is to be closed if nothing arrives; one with a State is given to its server for that.
	// Zero: never.
	Expires time.Time
	// State is the server's own: what its namesake in the successor needs to know. At most MaxState bytes.
	State []byte
}

// MaxState is the most bytes of Position.State.
const MaxState = wire.MaxState

// Server tracks the connections of one listener. Its methods are called by one goroutine at a time, and must not block; but
// see Finish.
type Server interface {
	// Depart says that connections are to move from now on. All are given to d.Ask, and go on as before until it is their
	// turn; one that has something to read before is given to Move, and so is one that could not leave then. d is nil if
	// the successor takes none, and connections are held: they are not any more.
	Depart(d Departure)
	// Stay ends what Depart began: no connection leaves any more. Those that have left get their Moved or Kept
	// independently of it, before or after. It may be called without Depart.
	Stay()
	// Finish waits until all connections that can leave have left, after the requests that are being answered, or ctx ends.
	// It may be called by any goroutine, and beside the others.
	Finish(ctx context.Context)
	// Arrive takes c, which a predecessor has served and which has something to read by now, or has ended. The rest of
	// what is known of it is in p. It may be called at any time after Register, also while Depart is in force.
	Arrive(c net.Conn, p Position)
}

// Holder stops requests while the program's state moves, whatever connections they come on. Its methods are called by
// one goroutine at a time.
type Holder interface {
	// AwaitBegun waits until the requests are answered that have begun so far, or ctx ends. Others begin as ever.
	AwaitBegun(ctx context.Context) error
	// Hold lets no request begin any more, and waits until those that have begun are answered, or ctx ends. From its
	// return on, until Resume or Gone, no request is being answered. again says that it was tried before, in vain.
	Hold(ctx context.Context, again bool) error
	// Resume undoes AwaitBegun and Hold, whatever they returned, and Gone: the generation serves on, with its state.
	Resume()
	// Gone ends Hold: the state has moved, and no request may change it here any more. Depart of each Server follows.
	Gone()
}

// Departure takes connections to the successor. Its methods do not block, and call none of c's.
type Departure interface {
	// Ask has the Leave of each called when it can be sent, in this order. So a connection is in nobody's hands only for
	// as long as it takes to send it, however many there are. It takes the slice.
	//
	// They are to be in the order in which they were accepted: what belongs to neighbours is near in memory then, here
	// and in the kernel (ADR 9 has the figures).
	Ask(conns []Conn)
	// Move takes c, which has left, before all that are to be asked. It reports false if nothing moves any more: c has not left
	// then.
	Move(c Conn) bool
}

// Registrar is what a listener of a generation implements, beside net.Listener. Register makes s the one that tracks the
// connections of that listener and takes those that arrive for it; protocol says what it can go on with.
// unregister ends that; nothing arrives at s after it has returned.
type Registrar interface {
	Register(protocol string, s Server) (unregister func())
}
