package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// stage is a server on a listener that is nobody's, as one that wraps a generation's is, where state moves.
type stage struct {
	t       *testing.T
	ln      *pipeListener
	run     *running
	started atomic.Int32  // requests whose handler was called
	goOn    chan struct{} // ends the answers to /slow
	later   chan struct{} // and to /slower
}

func newStage(t *testing.T, with func(*http.Server, net.Listener) Server) *stage {
	s := &stage{t: t, ln: newPipeListener(), goOn: make(chan struct{}), later: make(chan struct{})}
	gen := newFake(s.ln)
	gen.holds = true
	s.run = start(gen, with(&http.Server{Handler: s}, s.ln))
	synctest.Wait()
	return s
}

func (s *stage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.started.Add(1)
	switch r.URL.Path {
	case "/slow":
		<-s.goOn
	case "/slower":
		<-s.later
	case "/hijack":
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			s.t.Error(err)
			return
		}
		defer c.Close()
		<-s.goOn
		return
	case "/endless":
		<-Draining(r.Context())
	}
	echo(w, r)
}

func (s *stage) holder() *httpState { return s.run.gen.holder.(*httpState) }

func (s *stage) holdFirst(ctx context.Context) error { return s.holder().Hold(ctx, false) }

func (s *stage) client() *client { return newClient(s.t, s.ln.dial()) }

func (s *stage) end() {
	s.t.Helper()
	s.run.stop()
	<-s.run.done
	s.run.returned(s.t, nil)
}

// hold begins a hold that must not end at once, and returns what waits for it.
func (s *stage) hold(f func(context.Context) error) func() error {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Hour)
	done := make(chan error, 1)
	go func() { defer cancel(); done <- f(ctx) }()
	synctest.Wait()
	if len(done) > 0 {
		s.t.Fatalf("it has not waited: %v", <-done)
	}
	return func() error { return <-done }
}

func (s *stage) held() {
	s.t.Helper()
	if err := s.holder().Hold(s.t.Context(), false); err != nil {
		s.t.Fatal(err)
	}
}

const get, post = "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", "POST %s HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"

// While state moves, no request begins whatever its connection is like; afterwards each is answered, or repeated by its
// client, or told to come again.
func TestHoldTurnsAway(t *testing.T) {
	const body = "GET %s HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi"
	const events = "POST %s HTTP/1.1\r\nHost: test\r\nAccept: */*;q=0.1, Text/Event-Stream\r\nContent-Length: 0\r\n\r\n"
	for _, c := range []struct {
		name, request string
		first, silent bool
	}{
		{"get", get, false, true},
		{"head", strings.Replace(get, "GET", "HEAD", 1), false, true},
		{"the first get", get, true, false},
		{"get with a body", body, false, false},
		{"post", post, false, false},
		{"events", events, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, HTTP)
				client := s.client()
				if !c.first {
					client.get("/before", false)
				}
				s.held()
				before := s.started.Load()
				if _, err := fmt.Fprintf(client, c.request, "/x"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				s.holder().Gone()
				resp, err := http.ReadResponse(client.r, nil)
				switch {
				case c.silent && err != io.ErrUnexpectedEOF:
					t.Errorf("got %v, %v, want no answer", resp, err)
				case c.silent:
				case err != nil:
					t.Error(err)
				case resp.StatusCode != http.StatusServiceUnavailable || !resp.Close || resp.Header.Get("Retry-After") != "1":
					t.Errorf("got %v", resp)
				default:
					_, _ = io.Copy(io.Discard, resp.Body)
					client.ended()
				}
				if s.started.Load() != before {
					t.Error("a handler was called")
				}
				_ = client.Close()
				s.end()
			})
		})
	}
}

// A hold that is undone, before or after the state has moved, was only a pause.
func TestHoldResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, HTTP)
		a, b := s.client(), s.client()
		a.get("/before", false)
		s.held()
		a.send("GET /held HTTP/1.1", "Host: test")
		synctest.Wait()
		if s.started.Load() != 1 {
			t.Error("a request has begun")
		}
		s.holder().Resume()
		if body, closes := a.receive(); body != "/held" || closes {
			t.Errorf("got %q, close %t", body, closes)
		}
		s.held()
		s.holder().Gone()
		s.holder().Resume() // revived
		a.get("/after", false)
		b.get("/after", false)

		// A client that hangs up does not wait for ever.
		s.held()
		a.send("GET /gone HTTP/1.1", "Host: test")
		_ = a.Close()
		synctest.Wait()
		// The generation is closed in the midst of it, and nobody undoes it.
		b.send("POST /closed HTTP/1.1", "Host: test", "Content-Length: 0")
		synctest.Wait() // so that it is a request, and no idle connection
		s.run.stop()
		resp, err := http.ReadResponse(b.r, nil)
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("got %v, %v", resp, err)
		}
		_ = b.Close()
		s.end()
	})
}

// Settle waits for what has begun before, and lets others begin; Hold waits for all, and its error says for whom.
func TestHoldWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, HTTP)
		a, b := s.client(), s.client()
		a.send("GET /slow HTTP/1.1", "Host: test")
		synctest.Wait()
		settled := s.hold(s.holder().AwaitBegun)
		b.get("/meanwhile", false)
		b.send("GET /slow HTTP/1.1", "Host: test")
		synctest.Wait()
		s.goOn <- struct{}{} // a's or b's
		s.goOn <- struct{}{}
		if err := settled(); err != nil {
			t.Fatal(err)
		}
		a.receive()
		b.receive()

		a.send("GET /slow HTTP/1.1", "Host: test")
		synctest.Wait()
		for name, f := range map[string]func(context.Context) error{"settle": s.holder().AwaitBegun, "hold": s.holdFirst} {
			err := s.hold(f)()
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1, to "+a.LocalAddr().String()) {
				t.Errorf("%s: %v", name, err)
			}
			s.holder().Resume()
		}
		s.goOn <- struct{}{}
		a.receive()

		// Endless responses are asked to end, and what was hijacked is not waited for.
		a.send("GET /endless HTTP/1.1", "Host: test")
		b.send("GET /hijack HTTP/1.1", "Host: test")
		synctest.Wait()
		if err := s.holder().AwaitBegun(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.held()
		a.receive()
		s.holder().Resume()
		close(s.goOn)
		b.ended()
		_ = a.Close()
		s.end()
	})
}

// What has begun while Settle waits for others is not waited for.
func TestSettleIsForThoseBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, HTTP)
		a, b := s.client(), s.client()
		a.send("GET /slow HTTP/1.1", "Host: test")
		synctest.Wait()
		settled := s.hold(s.holder().AwaitBegun)
		b.send("GET /slower HTTP/1.1", "Host: test")
		synctest.Wait()
		s.goOn <- struct{}{}
		a.receive()
		if err := settled(); err != nil {
			t.Fatal(err)
		}
		if n := s.holder().gate.left(true); n != 1 {
			t.Errorf("%d requests are being answered, want b's", n)
		}
		close(s.later)
		b.receive()
		s.holder().Resume()
		_, _ = a.Close(), b.Close()
		s.end()
	})
}

// Where there was no state when Run began, requests are not known, and state cannot move.
func TestHoldWithoutState(t *testing.T) {
	var st httpState
	if err := st.AwaitBegun(t.Context()); !errors.Is(err, errLateState) {
		t.Errorf("got %v", err)
	}
}

// Over HTTP/2, requests are held one by one; a handler is waited for also if its client has hung up.
func TestHoldHTTP2(t *testing.T) {
	certificates, trust := testCertificate()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, func(h *http.Server, ln net.Listener) Server {
			h.TLSConfig = certificates
			return HTTPS(h, ln, "", "")
		})
		var conns []net.Conn
		dial := func(context.Context, string, string) (net.Conn, error) {
			c := s.ln.dial()
			conns = append(conns, c)
			return c, nil
		}
		tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: trust, DialContext: dial}
		defer tr.CloseIdleConnections()
		do := func(method, path string) (int, string, error) {
			req, err := http.NewRequestWithContext(t.Context(), method, "https://example.com"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(path, "events") {
				req.Header.Set("Accept", "text/event-stream")
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				return 0, "", err
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if resp.ProtoMajor != 2 {
				t.Errorf("%s", resp.Proto)
			}
			return resp.StatusCode, resp.Header.Get("Content-Type") + string(b), err
		}
		lost := make(chan error, 1)
		go func() { _, _, err := do("GET", "/slow"); lost <- err }()
		synctest.Wait()
		_ = conns[0].Close()
		if err := <-lost; err == nil {
			t.Error("the connection was not cut")
		}
		held := s.hold(s.holdFirst)
		close(s.goOn)
		if err := held(); err != nil {
			t.Fatal(err)
		}
		s.holder().Resume()

		// Both come back on a new connection, by GOAWAY.
		for i, path := range []string{"/x", "/events"} {
			if status, body, err := do("GET", "/before"); status != 200 || !strings.HasSuffix(body, "/before") || err != nil {
				t.Fatalf("got %d, %q, %v", status, body, err)
			}
			s.held()
			s.holder().Gone()
			status, body, err := do("GET", path)
			want := []int{503, 200}[i]
			if status != want || err != nil || want == 200 && body != "text/event-stream" {
				t.Errorf("%s: got %d, %q, %v", path, status, body, err)
			}
			s.holder().Resume()
			synctest.Wait()
			if len(conns) != i+2 {
				t.Errorf("%d connections, want %d", len(conns), i+2)
			}
		}
		tr.CloseIdleConnections()
		s.end()
	})
}

// testCertificate returns the configurations of a server and of its client.
func testCertificate() (server, client *tls.Config) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return &tls.Config{Certificates: s.TLS.Certificates}, &tls.Config{InsecureSkipVerify: true, ServerName: "example.com"}
}
