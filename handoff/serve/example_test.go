package serve_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
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

// orExit keeps the examples short. A program handles its errors.
func orExit[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// read returns what r has, and closes it.
func read(r io.ReadCloser) string {
	defer r.Close()
	return string(orExit(io.ReadAll(r)))
}

// start joins as the first generation, and returns what ends a call of Run with its context, as SIGTERM would.
func start() (ctx context.Context, gen *handoff.Generation, stop context.CancelFunc) {
	ctx, stop = context.WithTimeout(context.Background(), time.Minute)
	return ctx, orExit(handoff.Join(ctx, handoff.Config{})), stop
}

// A public server, and another one for operators. They are ready, drained and stopped together.
func ExampleHTTP() {
	ctx, gen, stop := start()
	defer stop()
	public := orExit(gen.Listen(ctx, "tcp", "127.0.0.1:0"))
	admin := orExit(gen.ListenAs(ctx, "admin", "tcp", "127.0.0.1:0", nil))
	says := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
	}
	ended := make(chan error, 1)
	go func() {
		ended <- serve.Run(ctx, gen,
			serve.HTTP(&http.Server{Handler: says("welcome")}, public),
			serve.HTTP(&http.Server{Handler: says("all is well")}, admin))
	}()

	for _, ln := range []net.Listener{public, admin} {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		fmt.Println(read(orExit(client.Get("http://" + ln.Addr().String())).Body))
	}
	stop()
	fmt.Println("ended:", <-ended)
	// Output:
	// welcome
	// all is well
	// ended: <nil>
}

// certificate returns a server's configuration with a certificate for 127.0.0.1, and a client's that trusts it.
func certificate() (server, client *tls.Config) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	trust := s.Client().Transport.(*http.Transport).TLSClientConfig
	return &tls.Config{Certificates: s.TLS.Certificates}, &tls.Config{RootCAs: trust.RootCAs}
}

// HTTP/1.1 and HTTP/2 over TLS. The certificate is read from files, or, as here, is in TLSConfig.
func ExampleHTTPS() {
	ctx, gen, stop := start()
	defer stop()
	ln := orExit(gen.Listen(ctx, "tcp", "127.0.0.1:0"))
	certificates, trust := certificate()
	hello := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "Hello by ", r.Proto) }
	s := &http.Server{Handler: http.HandlerFunc(hello), TLSConfig: certificates}
	ended := make(chan error, 1)
	go func() { ended <- serve.Run(ctx, gen, serve.HTTPS(s, ln, "", "")) }()

	tr := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
	fmt.Println(read(orExit((&http.Client{Transport: tr}).Get("https://" + ln.Addr().String())).Body))
	tr.CloseIdleConnections()
	stop()
	fmt.Println("ended:", <-ended)
	// Output:
	// Hello by HTTP/2.0
	// ended: <nil>
}

// greeter stands for what grpc.NewServer returns: it says hello to each client.
type greeter struct {
	ln    chan net.Listener
	calls sync.WaitGroup
}

func (g *greeter) Serve(ln net.Listener) error {
	g.ln <- ln
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		g.calls.Go(func() {
			defer c.Close()
			_, _ = fmt.Fprint(c, "hello")
		})
	}
}

// GracefulStop accepts no more, and waits for the calls that have begun.
func (g *greeter) GracefulStop() {
	_ = (<-g.ln).Close()
	g.calls.Wait()
}

// What is given here as a greeter is the result of grpc.NewServer in a program. See examples/grpc.
func ExampleGRPC() {
	ctx, gen, stop := start()
	defer stop()
	ln := orExit(gen.Listen(ctx, "tcp", "127.0.0.1:0"))
	s := &greeter{ln: make(chan net.Listener, 1)}
	ended := make(chan error, 1)
	go func() { ended <- serve.Run(ctx, gen, serve.GRPC(s, ln)) }()

	fmt.Println(read(orExit(net.Dial("tcp", ln.Addr().String()))))
	stop()
	fmt.Println("ended:", <-ended)
	// Output:
	// hello
	// ended: <nil>
}

// A UDP echo server. It has no listener and nothing to drain, and could run beside an HTTP server.
func ExampleFunc() {
	ctx, gen, stop := start()
	defer stop()
	socket := orExit(gen.ListenPacket(ctx, "udp", "127.0.0.1:0"))
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
	ended := make(chan error, 1)
	go func() { ended <- serve.Run(ctx, gen, serve.Func(nil, echo, nil)) }()

	client := orExit(net.Dial("udp", socket.LocalAddr().String()))
	defer client.Close()
	orExit(client.Write([]byte("ping"))) // it waits in the socket until the generation is ready
	b := make([]byte, 10)
	fmt.Println(string(b[:orExit(client.Read(b))]))
	stop()
	fmt.Println("ended:", <-ended)
	// Output:
	// ping
	// ended: <nil>
}

// Errors of Run name a server in this way, and by the address of its listener if it has one.
func ExampleServer_String() {
	fmt.Println(serve.Func(nil, func(net.Listener) error { return nil }, nil))
	// Output: func
}
