package serve

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// sharedBuffer is one that many may write to.
type sharedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *sharedBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *sharedBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// echoes is a server that speaks another protocol after an Upgrade: it sends back what it gets.
func echoes(w http.ResponseWriter, r *http.Request) {
	if !switches(r) {
		_, _ = io.WriteString(w, "plain")
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	_, _ = io.Copy(c, rw)
}

// tunnel is a client's end of one.
type tunnel struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func openTunnel(t *testing.T, c net.Conn) *tunnel {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() { _ = c.Close() })
	u := &tunnel{t, c, bufio.NewReader(c)}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(u.r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	u.echo("hello")
	return u
}

func (u *tunnel) echo(s string) {
	u.t.Helper()
	b := make([]byte, len(s))
	if _, err := io.WriteString(u, s); err != nil {
		u.t.Fatal(err)
	}
	if _, err := io.ReadFull(u.r, b); err != nil || string(b) != s {
		u.t.Fatalf("%q comes back as %q, %v", s, b, err)
	}
}

// end has the server close it, and waits for that.
func (u *tunnel) end() {
	u.t.Helper()
	w, ok := u.Conn.(interface{ CloseWrite() error })
	if !ok {
		u.t.Fatalf("%T cannot be closed in one direction", u.Conn)
	}
	_ = w.CloseWrite()
	_, err := u.r.ReadByte()
	if below := below(u.Conn); err == io.EOF && below != nil {
		_, err = below.Read(make([]byte, 1)) // what says so comes before the end
	}
	if err != io.EOF {
		u.t.Fatalf("at the end: %v", err)
	}
}

// limited wraps what a listener accepts, as middleware does.
type limited struct{ net.Listener }

type limitedConn struct{ net.Conn }

func (c limitedConn) NetConn() net.Conn { return c.Conn }

func (l limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return limitedConn{c}, err
}

// Run waits for hijacked connections as long as it is told to, and says how many are left.
func TestWaitHijacked(t *testing.T) {
	certificates, trust := testCertificate()
	backend := httptest.NewServer(http.HandlerFunc(echoes))
	t.Cleanup(backend.Close)
	to, err := url.Parse(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	plain := func(c net.Conn) net.Conn { return c }
	tracked := func(s *http.Server, ln net.Listener) Server { return HTTP(s, &registrar{Listener: ln}) }
	for _, kind := range []struct {
		name   string
		handle http.HandlerFunc
		serve  func(*http.Server, net.Listener) Server
		client func(net.Conn) net.Conn
	}{
		{"tracked", echoes, tracked, plain},
		{"proxied", httputil.NewSingleHostReverseProxy(to).ServeHTTP, tracked, plain},
		{"wrapped", echoes, func(s *http.Server, ln net.Listener) Server { return HTTP(s, limited{ln}) }, plain},
		{"tls", echoes, func(s *http.Server, ln net.Listener) Server {
			s.TLSConfig = certificates
			s.Protocols = new(http.Protocols)
			s.Protocols.SetHTTP1(true)
			return HTTPS(s, ln, "", "")
		}, func(c net.Conn) net.Conn { return tls.Client(c, trust) }},
	} {
		for _, stops := range []bool{false, true} {
			for _, tt := range []struct {
				name  string
				wait  time.Duration
				close bool // the clients close them
				left  int
			}{
				{"not at all", 0, false, 2},
				{"not long enough", 10 * time.Millisecond, false, 2},
				{"until they are closed", time.Hour, true, 0},
				{"as long as it takes", -1, true, 0},
			} {
				t.Run(fmt.Sprintf("%s/stops=%t/%s", kind.name, stops, tt.name), func(t *testing.T) {
					ln, err := net.Listen("tcp", "127.0.0.1:0")
					if err != nil {
						t.Fatal(err)
					}
					var words sharedBuffer
					ended := make(chan struct{}, 3)
					s := &http.Server{ErrorLog: slog.NewLogLogger(slog.NewTextHandler(&words, nil), slog.LevelWarn)}
					s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						defer func() { ended <- struct{}{} }()
						kind.handle(w, r)
					})
					r := start(newFake(ln), kind.serve(s, ln).WaitHijacked(tt.wait))
					var tunnels []*tunnel
					for range 3 {
						c, err := net.Dial("tcp", ln.Addr().String())
						if err != nil {
							t.Fatal(err)
						}
						tunnels = append(tunnels, openTunnel(t, kind.client(c)))
					}
					tunnels[0].end()
					<-ended // a proxy closes its side only after the client has seen the end
					if stops {
						r.stop()
					} else {
						r.gen.supersede()
						r.gen.release()
					}
					if tt.close {
						select {
						case <-r.done:
							t.Error("Run has not waited")
						case <-time.After(20 * time.Millisecond): // long enough, most likely
						}
					}
					if tt.close || tt.wait == 0 {
						tunnels[1].echo("still here")
					}
					if tt.close {
						_, _ = tunnels[1].Close(), tunnels[2].Close()
					}
					<-r.done
					if r.err != nil {
						t.Errorf("Run: %v", r.err)
					}
					want := ""
					if tt.left > 0 {
						want = fmt.Sprintf("hijacked connections are cut when this process ends: %d;", tt.left)
					}
					if got := words.String(); !strings.Contains(got, want) || (got == "") != (want == "") {
						t.Errorf("log: %q, want %q", got, want)
					}
				})
			}
		}
	}
}

// What is closed is forgotten at last.
func TestHijackedForgotten(t *testing.T) {
	var j hijacked
	a, b := net.Pipe()
	defer a.Close()
	j.add(b) // has no descriptor
	if j.count() != 0 {
		t.Error("a pipe is counted")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for range 500 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		j.add(c)
		_ = c.Close()
		s, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
	}
	if n := len(j.conns); n > 100 {
		t.Errorf("%d closed connections are remembered", n)
	}
}
