// Command grpc is a gRPC server that is upgraded without its clients noticing. Its one service is
// grpc.health.v1.Health.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

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
	listen := flag.String("listen", "127.0.0.1:8083", "listen on this `address`")
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

	s := grpc.NewServer(grpc.UnaryInterceptor(sayPID))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	return serve.Run(ctx, gen, serve.GRPC(s, ln))
}

// sayPID tells the client which process answers.
func sayPID(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := grpc.SetHeader(ctx, metadata.Pairs("pid", strconv.Itoa(os.Getpid()))); err != nil {
		return nil, err
	}
	return next(ctx, req)
}
