package tableflip_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
	"github.com/segue-go/segue/handoff/tableflip"
)

// A program that takes over from one on tableflip, and can be replaced by it again: on SIGHUP it upgrades, on SIGUSR2 it goes
// back. docs/migrate-from-tableflip.md has both side by side.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parent, err := tableflip.Inherit(ctx, tableflip.Options{Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	gen, err := handoff.Join(ctx, handoff.Config{
		Path:    "/run/app/segue.sock",
		PIDFile: "/run/app/pid", // the one that tableflip wrote
		Signals: []os.Signal{syscall.SIGHUP},
		Sources: []handoff.Source{parent.Source()},
		Logger:  slog.Default(),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer gen.Close()
	ln, err := gen.Listen(ctx, "tcp", ":8080") // in the words in which the old program asks
	if err != nil {
		log.Fatal(err)
	}
	goBack := make(chan os.Signal, 1)
	signal.Notify(goBack, syscall.Signal(12)) // SIGUSR2, which windows does not have
	go func() {
		for range goBack {
			if err := tableflip.Rollback(ctx, gen, tableflip.RollbackOptions{}); err != nil {
				slog.Error("roll back", "error", err)
			}
		}
	}()
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, os.Getpid()) })
	if err := serve.Run(ctx, gen, serve.HTTP(&http.Server{}, ln)); err != nil {
		log.Fatal(err)
	}
}
