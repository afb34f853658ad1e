// Command systemd is an HTTP server that is a service of systemd, and that is upgraded without its clients noticing: by systemctl
// reload. The units beside this file run it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
	"github.com/segue-go/segue/handoff/systemd"
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
	log := slog.With("pid", os.Getpid())
	c := handoff.Config{Signals: []os.Signal{syscall.SIGHUP}, Logger: log}
	listen := flag.String("listen", "127.0.0.1:8080", "listen on this `address`")
	unix := flag.String("unix", "", "listen on this `path`, too")
	flag.StringVar(&c.Path, "segue", "", "rendezvous `path`")
	flag.StringVar(&c.PIDFile, "pid-file", "", "`path` of the PID file, the unit's PIDFile")
	flag.DurationVar(&c.Guard, "guard", 0, "keep the sockets for this long after an upgrade; 0 is the default")
	flag.DurationVar(&c.StopTimeout, "stop-timeout", 0, "let a stop take this long; 0 is the time to drain")
	flag.Parse()

	gen, err := systemd.Join(ctx, c, systemd.Options{Logger: log})
	if err != nil {
		return err
	}
	defer gen.Close()
	ln, err := gen.ListenAs(ctx, "http", "tcp", *listen, nil) // from the predecessor, from systemd, or bound afresh
	if err != nil {
		return err
	}
	servers := []serve.Server{serve.HTTP(&http.Server{Handler: handler()}, ln)}
	if *unix != "" {
		if ln, err = gen.Listen(ctx, "unix", *unix); err != nil {
			return err
		}
		servers = append(servers, serve.HTTP(&http.Server{Handler: handler()}, ln))
	}
	return serve.Run(ctx, gen, servers...)
}

// handler answers with the process id. /token and /slow are for who wants to see whether an answer is lost.
func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, os.Getpid()) })
	mux.HandleFunc("GET /token", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.FormValue("token")) })
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		ms, err := strconv.Atoi(r.FormValue("ms"))
		if err != nil || ms < 0 || ms > 60_000 {
			http.Error(w, "ms: want a number of milliseconds up to 60000", http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
			fmt.Fprintln(w, os.Getpid(), r.FormValue("token"))
		case <-r.Context().Done():
		}
	})
	return mux
}
