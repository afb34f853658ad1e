// Command dashboard is a server with one page, which shows how the server is upgraded while the page is open: requests by the
// process that answered, their latency, and a timeline of the last handoffs. Its buttons upgrade the server, to a version that
// is good, and to three that are not.
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
	"time"

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
	c := handoff.Config{Signals: []os.Signal{syscall.SIGHUP}, Guard: guard, Logger: slog.With("pid", os.Getpid())}
	listen := flag.String("listen", "127.0.0.1:8087", "listen on this `address`; who reaches it can press the buttons")
	flag.StringVar(&c.Path, "segue", "", "rendezvous `path`: who is started with the same one takes over")
	flag.Parse()

	v := thisVersion()
	v.prepare(&c)
	up := new(upgrades)
	c.Command = up.command
	defer up.wait() // after Close, which ends what it waits for

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
	up.begun(ctx, gen, v)
	srv := &http.Server{Handler: handler(gen, up), ReadHeaderTimeout: 10 * time.Second}
	return serve.Run(ctx, gen, serve.HTTP(srv, ln))
}
