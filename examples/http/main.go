// Command http is an HTTP server that is upgraded without its clients noticing.
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

	"github.com/segue-go/segue/examples/internal/fault"
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
	listen := flag.String("listen", "127.0.0.1:8080", "listen on this `address`")
	faultFile := flag.String("fault-file", "", "fail in the way that this `file` names; see examples/internal/fault")
	flag.StringVar(&c.Path, "segue", "", "rendezvous `path`: who is started with the same one takes over")
	flag.DurationVar(&c.Probation, "probation", 0, "serve for this long before taking over for good")
	flag.DurationVar(&c.Guard, "guard", 0, "keep the sockets for this long after an upgrade; 0 is the default")
	flag.DurationVar(&c.ReadyTimeout, "ready-timeout", 0, "give a successor this long to get ready; 0 is the default")
	flag.DurationVar(&c.DrainTimeout, "drain-timeout", 0, "give clients this long to leave; 0 is the default")
	flag.Parse()
	f := fault.Inject(*faultFile, &c)

	gen, err := handoff.Join(ctx, c)
	if err != nil {
		return err
	}
	defer gen.Close()
	ln, err := gen.Listen(ctx, "tcp", *listen) // inherited, or bound afresh
	if err != nil {
		return err
	}
	fmt.Println("listening on", ln.Addr())
	f.Strike(ctx)
	return serve.Run(ctx, gen, serve.HTTP(&http.Server{Handler: handler()}, ln))
}
