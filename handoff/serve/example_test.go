package serve_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
)

// Two generations of a server in one process, which is how a program can test itself. The second takes over from the
// first, whose Run returns when its clients have left.
func ExampleRun() {
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()

	addrs, ended := make(chan net.Addr, 1), make(chan error, 1)
	generation := func(name string) error {
		gen, err := handoff.Join(ctx, handoff.Config{Path: filepath.Join(dir, "sock"), Guard: 100 * time.Millisecond})
		if err != nil {
			return err
		}
		defer gen.Close()
		ln, err := gen.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addrs <- ln.Addr()
		hello := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "Hello from the ", name) }
		return serve.Run(ctx, gen, serve.HTTP(&http.Server{Handler: http.HandlerFunc(hello)}, ln))
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	get := func(addr net.Addr) string {
		resp, err := (&http.Client{Transport: tr}).Get("http://" + addr.String())
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}

	go func() { ended <- generation("first") }()
	addr := <-addrs
	fmt.Println(get(addr))

	go func() { ended <- generation("second") }()
	<-addrs // the same
	answer := get(addr)
	for ; answer == "Hello from the first"; answer = get(addr) {
	}
	fmt.Println(answer)
	fmt.Println("The first ended:", <-ended)

	stop() // as on SIGTERM
	fmt.Println("The second ended:", <-ended)
	// Output:
	// Hello from the first
	// Hello from the second
	// The first ended: <nil>
	// The second ended: <nil>
}

// A public server, and another one for operators. They are ready, drained and stopped together.
func ExampleHTTP() {
	run := func(ctx context.Context, gen *handoff.Generation, public, admin http.Handler) error {
		ln, err := gen.Listen(ctx, "tcp", ":80")
		if err != nil {
			return err
		}
		local, err := gen.Listen(ctx, "unix", "/run/app/admin.sock")
		if err != nil {
			return err
		}
		return serve.Run(ctx, gen,
			serve.HTTP(&http.Server{Handler: public}, ln),
			serve.HTTP(&http.Server{Handler: admin}, local))
	}
	_ = run
}

// HTTP/1.1 and HTTP/2 over TLS. The certificate is read from files, or is in TLSConfig.
func ExampleHTTPS() {
	run := func(ctx context.Context, gen *handoff.Generation, certificates *tls.Config) error {
		ln, err := gen.Listen(ctx, "tcp", ":443")
		if err != nil {
			return err
		}
		return serve.Run(ctx, gen, serve.HTTPS(&http.Server{TLSConfig: certificates}, ln, "", ""))
	}
	_ = run
}

// What is given as grpcServer is the result of grpc.NewServer. See examples/grpc.
func ExampleGRPC() {
	run := func(ctx context.Context, gen *handoff.Generation, grpcServer serve.GRPCServer) error {
		ln, err := gen.Listen(ctx, "tcp", ":50051")
		if err != nil {
			return err
		}
		return serve.Run(ctx, gen, serve.GRPC(grpcServer, ln))
	}
	_ = run
}

// A UDP echo server beside an HTTP server. It has no listener and nothing to drain.
func ExampleFunc() {
	run := func(ctx context.Context, gen *handoff.Generation, web serve.Server) error {
		socket, err := gen.ListenPacket(ctx, "udp", ":7")
		if err != nil {
			return err
		}
		echo := func(net.Listener) error {
			b := make([]byte, 64<<10)
			for {
				n, from, err := socket.ReadFrom(b)
				if errors.Is(err, net.ErrClosed) {
					return nil // the generation has ended
				}
				if err == nil {
					_, _ = socket.WriteTo(b[:n], from)
				}
			}
		}
		return serve.Run(ctx, gen, web, serve.Func(nil, echo, nil))
	}
	_ = run
}

// Errors of Run name a server in this way, and by the address of its listener if it has one.
func ExampleServer_String() {
	fmt.Println(serve.Func(nil, func(net.Listener) error { return nil }, nil))
	// Output: func
}
