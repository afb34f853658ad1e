// Command cache is an HTTP server that keeps all it knows in memory, and loses none of it in an upgrade: a cache, counters and
// a rate limiter.
//
// Each of the three is a section of state, which [handoff.Generation.State] moves to the successor together with the listener.
// The counters and the rate limiter move in the gap of the switch: [serve.HTTP] holds every connection between two requests
// then, so what is saved is what the last answer said, and the next request finds it restored. The cache is large, so the bulk
// of it is sent ahead, while this process serves on, and only what has changed since moves in the gap. See state.go.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second one ends the process at once
	if err := run(ctx); err != nil {
		slog.Error("server ends", "pid", os.Getpid(), "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	c := handoff.Config{Signals: []os.Signal{syscall.SIGHUP}, Logger: slog.With("pid", os.Getpid())}
	listen := flag.String("listen", "127.0.0.1:8086", "listen on this `address`")
	size := flag.Int("size", 100_000, "cache at most this `number` of values")
	rate := flag.Float64("rate", 1, "allow each client this many requests per second in the long run")
	burst := flag.Int("burst", 10, "allow each client this many requests at once")
	flag.StringVar(&c.Path, "segue", "", "rendezvous `path`: who is started with the same one takes over")
	flag.DurationVar(&c.Guard, "guard", 0, "keep the sockets for this long after an upgrade; 0 is the default")
	flag.Parse()

	gen, err := handoff.Join(ctx, c)
	if err != nil {
		return err
	}
	defer gen.Close()
	s := &server{cache: newCache(*size), counters: newCounters(), limiter: newLimiter(*rate, *burst)}
	if err := s.register(gen); err != nil {
		return err
	}
	ln, err := gen.Listen(ctx, "tcp", *listen) // inherited, or bound afresh
	if err != nil {
		return err
	}
	fmt.Println("listening on", ln.Addr())
	return serve.Run(ctx, gen, serve.HTTP(&http.Server{Handler: s.handler()}, ln))
}
