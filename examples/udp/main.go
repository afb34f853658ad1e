// Command udp is a UDP server that is upgraded without its clients noticing: it answers each datagram with its
// process id and the datagram.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
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
	listen := flag.String("listen", "127.0.0.1:8082", "listen on this `address`")
	flag.StringVar(&c.Path, "segue", "", "rendezvous `path`: who is started with the same one takes over")
	flag.Parse()

	gen, err := handoff.Join(ctx, c)
	if err != nil {
		return err
	}
	defer gen.Close()
	socket, err := gen.ListenPacket(ctx, "udp", *listen) // inherited, or bound afresh
	if err != nil {
		return err
	}
	fmt.Println("listening on", socket.LocalAddr())

	go echo(socket) // waits until Ready
	if err := gen.Ready(ctx); err != nil {
		return err
	}
	err = gen.Wait(ctx, nil) // what was read is answered at once, so there is nothing to drain
	if ctx.Err() != nil {
		return nil // somebody wants us to stop
	}
	return err // nil: a successor serves
}

func echo(socket net.PacketConn) {
	datagram := make([]byte, 64<<10)
	for {
		n, from, err := socket.ReadFrom(datagram)
		if errors.Is(err, net.ErrClosed) {
			return // a successor has it
		}
		if err != nil {
			slog.Warn("read", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if _, err := socket.WriteTo(fmt.Appendf(nil, "%d %s", os.Getpid(), datagram[:n]), from); err != nil {
			slog.Warn("write", "to", from, "error", err)
		}
	}
}
