package serve

import (
	"context"
	"errors"
	"net"
	"net/http"
)

// Func makes a [Server] of functions, for what is neither net/http nor gRPC.
//
// serve gets ln, or rather a listener that forwards to it, and returns, with whatever error, when it is closed. If ln
// is nil, serve gets nil, and counts as ready as soon as it is called; what it uses instead, such as a packet socket of
// the generation, is closed with the generation, and serve returns then. If serve returns earlier, that ends all
// servers. Run closes ln.
//
// serve runs in two processes for as long as an upgrade takes, and before this one owns; what may run in one process only is a
// [Worker].
//
// drain is called when a successor has taken over, and returns nil when the clients are gone. A nil drain is for a
// server that has nothing to wait for.
//   - The generation may be revived, also after drain has returned. serve goes on then, and drain may be called again.
//     So what drain does must be reversible; what is not waits for gen.Released.
//   - If its ctx is cancelled, the generation was revived or is to stop, and drain returns.
//   - If ctx is past its deadline (context.DeadlineExceeded), drain ends by force what is left, and returns that error.
//   - When the program stops for good, drain is called as well, with gen closed, and gen.Released too.
//   - That something is closed already (net.ErrClosed, http.ErrServerClosed) is no failure of it.
//
// A server that shuts down by closing its listener, and cannot serve again, goes into a drain that waits for gen.Released
// or ctx first; whatever its own serve returns then is no failure either.
func Func(ln net.Listener, serve func(net.Listener) error, drain func(context.Context) error) Server {
	if serve == nil {
		return Server{}
	}
	return Server{kind: "func", ln: ln, impl: &funcServer{serveFunc: serve, drainFunc: drain}}
}

type funcServer struct {
	serveFunc func(net.Listener) error
	drainFunc func(context.Context) error
}

func (f *funcServer) attach(*runner) func(net.Conn) net.Conn { return nil }

func (f *funcServer) serve(l net.Listener) error { return f.serveFunc(l) }

func (f *funcServer) drain(ctx context.Context) error {
	if f.drainFunc == nil {
		return nil
	}
	return notClosed(f.drainFunc(ctx))
}

// notClosed returns err, or nil if it says nothing but that something is closed.
func notClosed(err error) error {
	var parts []error
	switch e := err.(type) { //nolint:errorlint // each layer is looked at
	case interface{ Unwrap() []error }:
		parts = e.Unwrap()
	case interface{ Unwrap() error }:
		parts = []error{e.Unwrap()}
	}
	for _, part := range parts {
		if notClosed(part) != nil {
			return err
		}
	}
	if len(parts) > 0 || errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (f *funcServer) stop(ctx context.Context, drained bool) error {
	if drained {
		return nil
	}
	return f.drain(ctx)
}
