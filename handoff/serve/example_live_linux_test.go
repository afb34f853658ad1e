package serve_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
)

// generations returns what starts the next generation in this process: server is given that and its listener, and the
// address of the listener is returned. end stops the last one, as SIGTERM would, and waits for all.
func generations() (next func(server func(*handoff.Generation, net.Listener) serve.Server) net.Addr, end func()) {
	dir := orExit(os.MkdirTemp("", "segue"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	var ended []chan error
	next = func(server func(*handoff.Generation, net.Listener) serve.Server) net.Addr {
		gen := orExit(handoff.Join(ctx, handoff.Config{Path: filepath.Join(dir, "sock"), Guard: 50 * time.Millisecond}))
		ln := orExit(gen.Listen(ctx, "tcp", "127.0.0.1:0"))
		s, done := server(gen, ln), make(chan error, 1)
		ended = append(ended, done)
		go func() { done <- serve.Run(ctx, gen, s) }()
		for gen.Status().Phase != handoff.PhaseServing && ctx.Err() == nil {
			time.Sleep(time.Millisecond) // a program need not wait: Run does all
		}
		return ln.Addr()
	}
	return next, func() {
		cancel()
		for _, done := range ended {
			orExit(0, <-done)
		}
		_ = os.RemoveAll(dir)
	}
}

// Server-sent events, which have no end of their own. When a successor has taken over, the handler ends the response, and
// the client, which would be an EventSource in a browser, asks again: on the connection that it has.
func ExampleDraining() {
	next, end := generations()
	defer end()
	from := func(name string) func(*handoff.Generation, net.Listener) serve.Server {
		return func(_ *handoff.Generation, ln net.Listener) serve.Server {
			events := func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				for {
					fmt.Fprintf(w, "data: %s to %s\n\n", name, r.RemoteAddr)
					_ = http.NewResponseController(w).Flush()
					select {
					case <-tick.C:
					case <-serve.Draining(r.Context()):
						return
					case <-r.Context().Done():
						return
					}
				}
			}
			return serve.HTTP(&http.Server{Handler: http.HandlerFunc(events)}, ln)
		}
	}
	url := "http://" + next(from("first")).String()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	// listen returns the name and the address in the first event, and the rest of the response.
	listen := func() (name, client string, rest io.ReadCloser) {
		resp := orExit((&http.Client{Transport: tr}).Get(url))
		event := orExit(bufio.NewReaderSize(resp.Body, 16).ReadString('\n'))
		orExit(fmt.Sscanf(event, "data: %s to %s", &name, &client))
		return name, client, resp.Body
	}
	name, client, rest := listen()
	fmt.Println("events of the", name)
	next(from("second"))
	read(rest) // comes to its end
	name, again, rest := listen()
	for name == "first" {
		read(rest)
		name, again, rest = listen()
	}
	fmt.Println("events of the", name)
	fmt.Println("on the same connection:", client == again)
	_ = rest.Close()
	// Output:
	// events of the first
	// events of the second
	// on the same connection: true
}

// TLS connections cannot move. Their clients are asked to leave, here at once; they resume their sessions with the
// successor.
func ExampleServer_Spread() {
	next, end := generations()
	defer end()
	certificates, trust := certificate()
	says := func(name string) func(*handoff.Generation, net.Listener) serve.Server {
		return func(_ *handoff.Generation, ln net.Listener) serve.Server {
			hello := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name) }
			s := &http.Server{Handler: http.HandlerFunc(hello), TLSConfig: certificates}
			return serve.HTTPS(s, ln, "", "").Spread(0) // 30*time.Second, for a server with many clients
		}
	}
	url := "https://" + next(says("first")).String()
	trust.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	tr := &http.Transport{TLSClientConfig: trust}
	defer tr.CloseIdleConnections()
	get := func() (name string, leave, resumed bool) {
		resp := orExit((&http.Client{Transport: tr}).Get(url))
		return read(resp.Body), resp.Close, resp.TLS.DidResume
	}
	name, leave, resumed := get()
	fmt.Println(name, leave, resumed)
	next(says("second"))
	for name == "first" && !leave { // until it has heard of the successor
		name, leave, _ = get()
	}
	fmt.Println(name, leave)
	name, _, resumed = get()
	fmt.Println(name, resumed)
	// Output:
	// first false false
	// first true
	// second true
}

// A counter of requests, which an upgrade neither loses nor doubles. Run holds the requests while it moves; a server that
// is not HTTP does that by Section.Hold.
func ExampleRun_state() {
	next, end := generations()
	defer end()
	server := func(gen *handoff.Generation, ln net.Listener) serve.Server {
		var count atomic.Uint64
		orExit(0, gen.State("count", handoff.Section{
			Save: func(_ context.Context, w io.Writer) error {
				return binary.Write(w, binary.BigEndian, count.Load())
			},
			Restore: func(_ context.Context, r *io.SectionReader) error {
				var n uint64
				err := binary.Read(r, binary.BigEndian, &n)
				count.Store(n)
				return err
			},
		}))
		counted := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "request ", count.Add(1)) }
		return serve.HTTP(&http.Server{Handler: http.HandlerFunc(counted)}, ln)
	}
	url := "http://" + next(server).String()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	get := func() string { return read(orExit((&http.Client{Transport: tr}).Get(url)).Body) }
	fmt.Println(get())
	fmt.Println(get())
	next(server)
	fmt.Println(get())
	// Output:
	// request 1
	// request 2
	// request 3
}
