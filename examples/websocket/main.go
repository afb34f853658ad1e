// Command websocket is a WebSocket server whose sessions live on through upgrades, each on the connection on which it
// began. It answers each message with its number in the session, its own process id, and the message.
//
// WebSocket begins as HTTP, so [serve.HTTP] accepts the connections and an http.Handler hijacks them. From then on they are
// the program's, which gives them to the successor by Generation.Give and takes them there by Generation.Take; see hub.go.
// What makes that possible is a WebSocket library whose state between two messages is known, and that goes on with any
// net.Conn: github.com/gobwas/ws reads and writes frames, and keeps nothing. See session.go.
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

	"github.com/gobwas/ws"

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
	listen := flag.String("listen", "127.0.0.1:8085", "listen on this `address`")
	flag.StringVar(&c.Path, "segue", "", "rendezvous `path`: who is started with the same one takes over")
	flag.DurationVar(&c.Guard, "guard", 0, "keep the sockets for this long after an upgrade; 0 is the default")
	flag.Parse()

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
	h := newHub(gen)
	return serve.Run(ctx, gen,
		serve.HTTP(&http.Server{Handler: handler(h)}, ln),
		serve.Func(nil, h.take, h.drain))
}

func handler(h *hub) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pid", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, os.Getpid())
	})
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
		c, rw, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			if c != nil {
				_ = c.Close() // the client has been told why
			}
			return
		}
		_ = c.SetDeadline(time.Time{}) // net/http's
		// What came right after the request has been read already.
		early, _ := rw.Reader.Peek(rw.Reader.Buffered())
		h.add(&session{conn: c, position: position{In: append([]byte(nil), early...)}})
	})
	return mux
}
