// Command tcp is a plain TCP server that is upgraded without its clients noticing: it answers each line with its
// process id and the line.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff"
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
	listen := flag.String("listen", "127.0.0.1:8081", "listen on this `address`")
	flag.StringVar(&c.Path, "segue", "", "rendezvous `path`: who is started with the same one takes over")
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

	var s server
	go s.accept(ln) // waits until Ready
	if err := gen.Ready(ctx); err != nil {
		return err
	}
	err = gen.Wait(ctx, func(ctx context.Context) error {
		select {
		case <-gen.Released(): // until then what was accepted in the last instant may not have been counted
			return s.drain(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if ctx.Err() == nil {
		return err // nil: a successor serves, and our clients have left
	}
	// Somebody wants us to stop. What is connected gets a little time.
	_ = gen.Close()
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.drain(last)
	return nil
}

// server knows how many clients it has.
type server struct{ clients atomic.Int64 }

func (s *server) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return // a successor has it
		}
		if err != nil { // out of descriptors, for example
			slog.Warn("accept", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		s.clients.Add(1)
		go s.serve(c)
	}
}

func (s *server) serve(c net.Conn) {
	defer s.clients.Add(-1)
	defer c.Close()
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if _, err := fmt.Fprintf(c, "%d %s\n", os.Getpid(), lines.Bytes()); err != nil {
			return
		}
	}
}

// drain waits until the clients have left, or there is no more time: then they lose their connections when the
// process ends.
func (s *server) drain(ctx context.Context) error {
	for s.clients.Load() > 0 {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
