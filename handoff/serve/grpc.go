package serve

import (
	"context"
	"errors"
	"net"
	"sync"
)

// GRPCServer is what [GRPC] needs of a *grpc.Server. If it also has the method Stop(), that is what ends by force
// what GracefulStop did not end in time.
type GRPCServer interface {
	Serve(net.Listener) error
	GracefulStop()
}

// GRPC makes a [Server] of a *grpc.Server, which this package does not import, and a listener of the generation that
// [Run] is given. Run takes both.
//
// GracefulStop cannot be undone. So it is called only when the generation cannot be revived any more, which is at the
// end of Config.Guard, three seconds after the successor confirmed unless set otherwise; until then the connections
// that this generation has go on as before, and new ones go to the successor. If the generation is revived, the
// server has not noticed anything. From GracefulStop on, clients are sent to the successor by GOAWAY, and calls that
// have begun finish, for as long as Config.DrainTimeout, counted from the upgrade, allows.
//
// Calls are not held while sections of state move: if they change such state, stop them by handoff.Section.Hold, for
// instance with an interceptor that waits. What this generation answers after the switch, it answers from the state
// that it had then.
func GRPC(s GRPCServer, ln net.Listener) Server {
	if s == nil || ln == nil {
		return Server{}
	}
	return Server{kind: "grpc", ln: ln, impl: &grpcServer{grpc: s, stopped: make(chan struct{})}}
}

type grpcServer struct {
	grpc     GRPCServer
	gen      generation
	graceful sync.Once
	forced   sync.Once
	stopped  chan struct{} // closed when GracefulStop has returned
}

func (g *grpcServer) attach(r *runner) func(net.Conn) net.Conn {
	g.gen = r.gen
	return nil
}

func (g *grpcServer) serve(l net.Listener) error { return g.grpc.Serve(l) }

func (g *grpcServer) drain(ctx context.Context) error {
	select {
	case <-g.gen.Released():
	case <-ctx.Done():
		return ctx.Err() // if it was time that ran out, stop uses force once the guard is over
	}
	select {
	case <-g.gracefulStop():
		return nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			g.force(ctx)
		}
		return ctx.Err() // otherwise stop gives them time of its own
	}
}

func (g *grpcServer) stop(ctx context.Context, _ bool) error {
	select {
	case <-g.gracefulStop():
	case <-ctx.Done():
		g.force(ctx)
	}
	return nil
}

func (g *grpcServer) gracefulStop() <-chan struct{} {
	g.graceful.Do(func() {
		go func() {
			defer close(g.stopped)
			g.grpc.GracefulStop()
		}()
	})
	return g.stopped
}

// force closes what is left. GracefulStop returns only when all handlers have, so it is not waited for to the end.
func (g *grpcServer) force(ctx context.Context) {
	g.forced.Do(func() {
		s, ok := g.grpc.(interface{ Stop() })
		if !ok {
			return
		}
		ctx, cancel := within(ctx, lastCall)
		defer cancel()
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			s.Stop()
		}()
		for _, c := range []<-chan struct{}{closed, g.stopped} {
			select {
			case <-c:
			case <-ctx.Done():
			}
		}
	})
}
