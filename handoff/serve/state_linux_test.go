package serve_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
)

// bareListener hides what a listener is, as those do that limit or log connections.
type bareListener struct{ net.Listener }

// counter is a state that moves.
type counter struct{ n atomic.Uint64 }

func (c *counter) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	_, _ = fmt.Fprint(w, c.n.Add(1))
}

func (c *counter) section() handoff.Section {
	return handoff.Section{
		Save: func(_ context.Context, w io.Writer) error { return binary.Write(w, binary.BigEndian, c.n.Load()) },
		Restore: func(_ context.Context, r *io.SectionReader) error {
			var n uint64
			err := binary.Read(r, binary.BigEndian, &n)
			c.n.Store(n)
			return err
		},
	}
}

// chain is a chain of generations in this process, each with a counter.
type chain struct {
	t            *testing.T
	ctx          context.Context
	path         string
	stateTimeout time.Duration
	wrap         func(net.Listener) net.Listener
	handler      func(*counter) http.Handler
	server       func(*http.Server, net.Listener) serve.Server
	addr         string
	gen          *handoff.Generation // the last one that serves
	stop         func()
	ends         []chan error
}

func newChain(t *testing.T) *chain {
	dir, err := os.MkdirTemp("", "segue") // short: it holds a Unix socket
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	c := &chain{t: t, ctx: ctx, path: filepath.Join(dir, "s"), stop: cancel}
	c.wrap = func(l net.Listener) net.Listener { return l }
	c.handler = func(n *counter) http.Handler { return n }
	c.server = serve.HTTP
	t.Cleanup(func() {
		cancel()
		for _, end := range c.ends {
			if err := <-end; err != nil {
				t.Error(err)
			}
		}
		_ = os.RemoveAll(dir)
	})
	return c
}

// begin begins the next generation, and returns when it serves, or why it does not.
func (c *chain) begin() (*counter, error) {
	c.t.Helper()
	gen, err := handoff.Join(c.ctx, handoff.Config{
		Path: c.path, Guard: -1, DrainTimeout: time.Second, StateTimeout: c.stateTimeout,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ln, err := gen.Listen(c.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	n := new(counter)
	if err := gen.State("counter", n.section()); err != nil {
		c.t.Fatal(err)
	}
	if c.addr == "" { // the others inherit the socket
		c.addr = ln.Addr().String()
	}
	end := make(chan error, 1)
	go func() { end <- serve.Run(c.ctx, gen, c.server(&http.Server{Handler: c.handler(n)}, c.wrap(ln))) }()
	for gen.Status().Phase != handoff.PhaseServing {
		select {
		case err := <-end:
			return nil, err
		case <-time.After(time.Millisecond):
		}
	}
	c.gen, c.ends = gen, append(c.ends, end)
	return n, nil
}

func (c *chain) next() *counter {
	c.t.Helper()
	n, err := c.begin()
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *chain) request(tr *http.Transport, method, path string) (status int, local string, err error) {
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { local = i.Conn.LocalAddr().String() }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(c.ctx, trace), method, "http://"+c.addr+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, local, err
}

// Whatever the listener is, each number is given to one client, and none is lost: a client is answered, or told to come
// again, or its connection ends before its request is begun.
func TestCountsExactly(t *testing.T) {
	for _, wrapped := range []bool{false, true} {
		t.Run(fmt.Sprintf("wrapped=%t", wrapped), func(t *testing.T) { countsExactly(t, wrapped) })
	}
}

func countsExactly(t *testing.T, wrapped bool) {
	c := newChain(t)
	if wrapped {
		c.wrap = func(l net.Listener) net.Listener { return bareListener{l} }
	}
	c.next()
	var answered, refused atomic.Uint64
	var clients sync.WaitGroup
	stop := make(chan struct{})
	tr := &http.Transport{MaxIdleConnsPerHost: 8}
	defer tr.CloseIdleConnections()
	for i := range 8 {
		method := []string{"POST", "GET"}[i%2]
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				switch status, _, err := c.request(tr, method, "/"); {
				case err != nil:
					t.Errorf("%s: %v", method, err)
					return
				case status == http.StatusOK:
					answered.Add(1)
				case status == http.StatusServiceUnavailable && wrapped:
					refused.Add(1)
				default:
					t.Errorf("%s: %d", method, status)
				}
			}
		})
	}
	var last *counter
	for range 3 {
		for before := answered.Load(); answered.Load() < before+100 && !t.Failed(); { // each generation has served
			select {
			case <-time.After(time.Millisecond):
			case <-c.ctx.Done():
				t.Fatal("the clients are not answered")
			}
		}
		last = c.next()
	}
	close(stop)
	clients.Wait()
	if n := last.n.Load(); n != answered.Load() {
		t.Errorf("%d requests were answered, and %d counted; %d were told to come again", answered.Load(), n, refused.Load())
	}
}

// While one request takes long, others are answered, those on new connections too; the state moves when it is done. If
// it is not done in time, the upgrade fails, and the error says who is served so long.
func TestSlowRequestHoldsNobody(t *testing.T) {
	c := newChain(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	c.handler = func(n *counter) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
				begun <- struct{}{}
				<-goOn
			}
			n.ServeHTTP(w, r)
		})
	}
	c.next()
	tr := new(http.Transport)
	defer tr.CloseIdleConnections()
	slow := make(chan string)
	ask := func() {
		status, local, err := c.request(tr, "GET", "/slow")
		if status != http.StatusOK || err != nil {
			t.Errorf("slow: %d, %v", status, err)
		}
		slow <- local
	}
	go ask()
	<-begun

	c.stateTimeout = 200 * time.Millisecond // of a successor, for now
	first, upgraded := c.gen, make(chan *counter, 1)
	go func() {
		n, err := c.begin()
		if err != nil {
			t.Error(err)
		}
		upgraded <- n
	}()
	for first.Status().Phase != handoff.PhaseSwitching {
		time.Sleep(time.Millisecond)
	}
	for range 50 {
		fresh := &http.Transport{DisableKeepAlives: true}
		if status, _, err := c.request(fresh, "POST", "/"); status != http.StatusOK || err != nil {
			t.Fatalf("a client beside it: %d, %v", status, err)
		}
	}
	select {
	case <-upgraded:
		t.Fatal("the state has moved while a request was being answered")
	default:
	}
	goOn <- struct{}{}
	<-slow
	if next := <-upgraded; next == nil {
		t.FailNow()
	} else if n := next.n.Load(); n != 51 {
		t.Errorf("%d counted, want 51", n)
	}

	go ask()
	<-begun
	_, err := c.begin() // from one with that StateTimeout
	goOn <- struct{}{}
	if client := <-slow; err == nil || !strings.Contains(err.Error(), "requests still being answered: 1, to "+client) {
		t.Errorf("got %v, want it to name %s", err, client)
	}
}

// Server-sent events over TLS, where state moves: the stream ends when it does, and who asks for it again, as a browser
// does unless it gets an error for an answer, has it from the successor.
func TestEventsOverTLSWithState(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) { eventsOverTLS(t, proto) })
	}
}

func eventsOverTLS(t *testing.T, proto string) {
	certificates, trust := certificate()
	trust.ServerName = "example.com"
	c := newChain(t)
	c.server = func(s *http.Server, ln net.Listener) serve.Server {
		s.TLSConfig = certificates
		return serve.HTTPS(s, ln, "", "")
	}
	generation := 0
	c.handler = func(*counter) http.Handler {
		generation++
		return events(strconv.Itoa(generation))
	}
	tr := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: proto == "HTTP/2.0"}
	defer tr.CloseIdleConnections()
	ask := func() *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(c.ctx, http.MethodGet, "https://"+c.addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/event-stream")
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "text/event-stream" || resp.Proto != proto {
			t.Fatalf("got %s, %s, %q", resp.Proto, resp.Status, kind)
		}
		return resp
	}
	c.next()
	resp := ask()
	for _, name := range []string{"1", "2", "3"} {
		body := bufio.NewReader(resp.Body)
		line, err := body.ReadString('\n')
		if err == io.EOF && name != "1" { // told to come again
			_ = resp.Body.Close()
			resp = ask()
			body = bufio.NewReader(resp.Body)
			line, err = body.ReadString('\n')
		}
		if want := "data: from " + name + "\n"; err != nil || line != want {
			t.Fatalf("got %q, %v, want %q", line, err, want)
		}
		if name == "3" {
			break
		}
		c.next()
		if _, err := io.Copy(io.Discard, body); err != nil { // to its proper end
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		resp = ask()
	}
	_ = resp.Body.Close()
}
