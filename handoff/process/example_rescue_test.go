package process_test

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/process"
	"github.com/segue-go/segue/handoff/serve"
)

// A server that is started where an incumbent hangs takes its place. Clients that wait in the accept queue are served.
func ExampleRescue_server() {
	ctx := context.Background()
	gen, err := handoff.Join(ctx, handoff.Config{
		Path:   "/run/app/segue.sock",
		Rescue: process.Rescue,
		Logger: slog.Default(), // it is logged as an error, before and after
	})
	if err != nil {
		log.Fatal(err)
	}
	defer gen.Close()
	ln, err := gen.Listen(ctx, "tcp", ":8080") // the incumbent's own, in whatever way it came
	if err != nil {
		log.Fatal(err)
	}
	if err := serve.Run(ctx, gen, serve.HTTP(&http.Server{}, ln)); err != nil {
		log.Fatal(err)
	}
}

// A rescue that somebody has to allow, for this one start.
func ExampleRescue_onRequest() {
	c := handoff.Config{Path: "/run/app/segue.sock"}
	if os.Getenv("APP_RESCUE") == "yes" {
		c.Rescue = func(ctx context.Context, incumbent handoff.Peer) (handoff.Source, error) {
			log.Printf("process %d hangs and is replaced", incumbent.PID)
			return process.Rescue(ctx, incumbent)
		}
	}
	gen, err := handoff.Join(context.Background(), c)
	if err != nil {
		log.Fatal(err)
	}
	defer gen.Close()
}
