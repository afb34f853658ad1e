package serve

import (
	"context"
	"net"
	"time"
)

// Server is one of the servers of a process, as [Run] takes it: a server and the listener that it is to serve.
// [HTTP], [HTTPS], [GRPC], [Func] and [Worker] make one. It is good for one call of Run. The zero value is no server, and Run
// says so.
type Server struct {
	kind string // for error messages
	ln   net.Listener
	impl server
}

// String returns the kind of the server and the address that it listens on.
func (s Server) String() string {
	switch {
	case s.impl == nil:
		return "no server"
	case s.ln == nil:
		return s.kind
	}
	return s.kind + " on " + s.ln.Addr().String()
}

// lastCall is how long to wait for what should happen at once, such as the return of a handler whose connection was
// taken from it by force: its context has ended, and one that does not look at it is left behind.
const lastCall = time.Second

// server is what makes HTTP different from gRPC.
type server interface {
	// attach is called once, before serve. What it returns is called by the listener that serve gets, with each connection
	// that it accepts, and gives the one that the server is to get; nil if there is no need.
	attach(r *runner) (accepted func(net.Conn) net.Conn)
	// serve accepts connections until l is closed or stop is called.
	serve(l net.Listener) error
	// drain lets go of the clients, and must be possible to undo: if ctx is cancelled, the server is to serve on, now
	// or after another drain. When ctx is past its deadline, drain ends by force what is left.
	drain(ctx context.Context) error
	// stop ends the server for good, by force when ctx ends. The listener is closed already. drained is true if drain
	// has returned nil, and nothing but its drain was the cause.
	stop(ctx context.Context, drained bool) error
}

// within returns a context that ends by force what stop began: it is not cancelled with ctx, as that is what stop is
// called for. A negative d is no limit.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx = context.WithoutCancel(ctx)
	if d < 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
