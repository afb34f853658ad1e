package serve_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
)

// events sends server-sent events until its generation drains: then it ends the response, and the client asks again, on
// the same connection, which has moved by then.
func events(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, _ = fmt.Fprintf(w, "data: from %s\n\n", name)
				_ = http.NewResponseController(w).Flush()
			case <-serve.Draining(r.Context()):
				return
			case <-r.Context().Done():
				return
			}
		}
	}
}

// A client of endless responses goes on with the successor, on the connection that it has.
func TestEventsGoOn(t *testing.T) {
	dir, err := os.MkdirTemp("", "segue") // short: it holds a Unix socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var ends []chan error
	begin := func(name string) net.Addr {
		t.Helper()
		gen, err := handoff.Join(ctx, handoff.Config{Path: filepath.Join(dir, "s"), Guard: -1})
		if err != nil {
			t.Fatal(err)
		}
		ln, err := gen.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		end := make(chan error, 1)
		ends = append(ends, end)
		go func() { end <- serve.Run(ctx, gen, serve.HTTP(&http.Server{Handler: events(name)}, ln)) }()
		for gen.Status().Phase != handoff.PhaseServing {
			select {
			case err := <-end:
				t.Fatal(err)
			case <-time.After(time.Millisecond):
			}
		}
		return ln.Addr()
	}
	addr := begin("1")
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	in := bufio.NewReader(c)
	for _, name := range []string{"1", "2", "3"} {
		if _, err := io.WriteString(c, "GET /events HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Close {
			t.Errorf("%s asks to close the connection", name)
		}
		body := bufio.NewReader(resp.Body)
		line, err := body.ReadString('\n')
		if want := "data: from " + name + "\n"; err != nil || line != want {
			t.Fatalf("got %q, %v, want %q", line, err, want)
		}
		if name == "3" {
			break
		}
		begin(string(name[0] + 1))
		if _, err := io.Copy(io.Discard, body); err != nil { // to its proper end
			t.Fatal(err)
		}
	}
	_ = c.Close()
	cancel()
	for _, end := range ends {
		if err := <-end; err != nil {
			t.Error(err)
		}
	}
}
