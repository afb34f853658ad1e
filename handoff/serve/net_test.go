package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// What the handler gets is exactly net/http's own, on exactly a *net.TCPConn: that is what sendfile(2) in
// http.ServeFile depends on.
func TestWriterAndConnUntouched(t *testing.T) {
	content := bytes.Repeat([]byte("segue "), 100_000)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gen := newFake(ln)
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := fmt.Sprintf("%T", w); got != "*http.response" {
				t.Errorf("ResponseWriter: %s", got)
			}
			if _, ok := w.(io.ReaderFrom); !ok {
				t.Error("ResponseWriter is no io.ReaderFrom")
			}
			http.ServeFile(w, r, file)
		}),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if _, ok := c.(*net.TCPConn); !ok {
				t.Errorf("connection: %T", c)
			}
			return ctx
		},
	}
	r := start(gen, HTTP(s, ln))
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("http://" + ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	tr.CloseIdleConnections()
	gen.supersede()
	gen.release()
	<-r.done
	if r.err != nil {
		t.Error(r.err)
	}
}

// Over HTTP/2, the next response comes with GOAWAY: streams that have begun finish, the next request takes another
// connection.
func TestHTTP2GoesAway(t *testing.T) {
	ts := httptest.NewUnstartedServer(nil) // for its certificate
	ts.StartTLS()
	cert := ts.TLS.Certificates[0]
	ts.Close()

	synctest.Test(t, func(t *testing.T) {
		old, successor := newPipeListener(), newPipeListener()
		goOn := make(chan struct{})
		s := &http.Server{
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor != 2 {
					t.Errorf("protocol: %s", r.Proto)
				}
				_, _ = io.WriteString(w, r.URL.Path)
				if r.URL.Path == "/stream" {
					_ = http.NewResponseController(w).Flush()
					<-goOn
					_, _ = io.WriteString(w, " to its end")
				}
			}),
		}
		gen := newFake(old)
		r := start(gen, HTTPS(s, old, "", ""))

		var ln atomic.Pointer[pipeListener]
		ln.Store(old)
		var dials atomic.Int32
		tr := &http.Transport{
			ForceAttemptHTTP2: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				dials.Add(1)
				return ln.Load().dial(), nil
			},
		}
		cl := &http.Client{Transport: tr}
		get := func(path string) *http.Response {
			t.Helper()
			resp, err := cl.Get("https://test" + path)
			if err != nil {
				t.Fatal(err)
			}
			return resp
		}
		read := func(resp *http.Response) string {
			t.Helper()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			return string(b)
		}
		stream := get("/stream")
		if b := read(get("/before")); b != "/before" {
			t.Errorf("before: %q", b)
		}
		gen.supersede()
		gen.release()
		r.pending(t)

		if b := read(get("/during")); b != "/during" {
			t.Errorf("during: %q", b)
		}
		if n := dials.Load(); n != 1 {
			t.Fatalf("%d connections, want that the old one serves until it says otherwise", n)
		}
		r.pending(t) // the stream

		// The successor.
		ln.Store(successor)
		next := newFake(successor)
		s2 := &http.Server{TLSConfig: s.TLSConfig.Clone(), Handler: s.Handler.(*handler).next}
		r2 := start(next, HTTPS(s2, successor, "", ""))
		if b := read(get("/after")); b != "/after" {
			t.Errorf("after: %q", b)
		}
		if n := dials.Load(); n != 2 {
			t.Errorf("%d connections, want a second one after GOAWAY", n)
		}

		close(goOn)
		if b := read(stream); b != "/stream to its end" {
			t.Errorf("stream: %q", b)
		}
		<-r.done
		r.returned(t, nil)
		tr.CloseIdleConnections()
		next.supersede()
		next.release()
		<-r2.done
		r2.returned(t, nil)
	})
}

// A server that is not draining costs no allocation per request.
func TestNoAllocationPerRequest(t *testing.T) {
	var st httpState
	w, r := discard{http.Header{}}, httptest.NewRequest("GET", "/", nil)
	bare := http.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	ours := http.Handler(&handler{next: bare, st: &st})
	hook := st.connState(nil)
	c, s := net.Pipe()
	defer c.Close()
	defer s.Close()
	want := testing.AllocsPerRun(1000, func() { bare.ServeHTTP(w, r) })
	got := testing.AllocsPerRun(1000, func() {
		hook(s, http.StateActive)
		ours.ServeHTTP(w, r)
		hook(s, http.StateIdle)
	})
	if got != want {
		t.Errorf("%v allocations per request, %v without", got, want)
	}
	if len(w.h) != 0 {
		t.Errorf("headers were added: %v", w.h)
	}
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}
