package serve

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// selfTest finds out whether net/http still calls in the order that moving depends on (see stand), for a server with
// the settings of s. It takes some hundred microseconds, and no socket: the connection is a script. twist is for tests:
// what it makes of the connection is served in its place.
func selfTest(s *http.Server, twist func(net.Conn) net.Conn) error {
	script := newScript()
	var c net.Conn = script
	if twist != nil {
		c = twist(c)
	}
	done := make(chan struct{})
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			script.mu.Lock()
			script.answered++
			script.mu.Unlock()
		}),
		ConnState: func(_ net.Conn, st http.ConnState) {
			if script.state(st); st == http.StateClosed {
				close(done)
			}
		},
		ReadTimeout: s.ReadTimeout, ReadHeaderTimeout: s.ReadHeaderTimeout, WriteTimeout: s.WriteTimeout,
		IdleTimeout: s.IdleTimeout, MaxHeaderBytes: s.MaxHeaderBytes, Protocols: s.Protocols,
	}
	_ = server.Serve(&single{c: c}) // returns when it has got that one
	timeout := time.NewTimer(5 * time.Second)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
		script.fail(errors.New("net/http did not come to an end"))
	}
	_ = script.Close()
	return script.result()
}

// single is a listener with one connection.
type single struct{ c net.Conn }

func (l *single) Accept() (net.Conn, error) {
	if l.c == nil {
		return nil, net.ErrClosed
	}
	c := l.c
	l.c = nil
	return c, nil
}

func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return scriptAddr{} }

type scriptAddr struct{}

func (scriptAddr) Network() string { return "script" }
func (scriptAddr) String() string  { return "self-test" }

// scene is one Read of the script: what net/http must be taken to do in it, and what it gets.
type scene struct {
	between bool
	ahead   string // if between: what is of the next request already
	begun   int    // otherwise, if not 0: how many bytes there are of the line in which a header stops
	give    string
}

// play is what the script gives: requests with and without a body, in pieces, with parts of the next one.
func play() []scene {
	return []scene{
		{between: true, give: "GET / HT"},
		{give: "TP/1.1\r\nHost: test\r\n\r\n"},
		{between: true, give: "GET / HTTP/1.1\r\nHost: test\r\n\r\nPOS"},
		{between: true, ahead: "POS", give: "T / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n"},
		{give: "\r\n"},
		{give: "123POST / HTTP/1.1\r"},
		{begun: len("POST / HTTP/1.1\r"), give: "\nHost: test\r\nContent-Length: 3\r\n\r\n"},
		{give: "123G"},
		{between: true, ahead: "G", give: "E"},
		{between: true, ahead: "GE", give: "T / HTTP/1.1\r\nHost: test\r\n\r\nGET / H"},
		{begun: len("GET / H"), give: "TTP/1.1\r\nHost: test\r\n\r\nGET / HTTP/1.1\r\nHo"},
		{begun: len("Ho"), give: "st: test\r\n\r\n"},
		{between: true},
	}
}

// script is a connection on which the client says what is written down.
type script struct {
	mu       sync.Mutex
	stand    stand
	scenes   []scene
	answered int
	err      error
	aborted  bool // the deadline is past
	closed   bool
	changed  sync.Cond
}

const answers = 7 // requests in play

func newScript() *script {
	s := &script{scenes: play()}
	s.changed.L = &s.mu
	return s
}

func (s *script) state(st http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stand.state(st)
}

func (s *script) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed(err)
}

// failed is called with mu held.
func (s *script) failed(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *script) result() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return s.err
	case len(s.scenes) > 0:
		return fmt.Errorf("net/http did not read on, %d reads before the end", len(s.scenes))
	case s.answered != answers:
		return fmt.Errorf("net/http answered %d requests of %d", s.answered, answers)
	}
	return nil
}

func (s *script) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ahead, between := s.stand.between(len(p))
	if len(p) == 1 {
		return 0, s.background(between)
	}
	if len(s.scenes) == 0 {
		return 0, io.EOF
	}
	now := s.scenes[0]
	s.scenes = s.scenes[1:]
	if now.between != between || between && string(s.stand.ahead(ahead)) != now.ahead {
		s.failed(fmt.Errorf("a read of net/http into %d bytes, %d reads before the end, is taken to be between requests: "+
			"%t, with %d bytes read ahead; want %t, with %d", len(p), len(s.scenes), between, ahead, now.between, len(now.ahead)))
		return 0, io.EOF
	}
	if now.give == "" {
		return 0, io.EOF
	}
	if n := bufferSize - len(p); now.begun != 0 && (now.begun != n || s.stand.deadlines != 2) {
		s.failed(fmt.Errorf("a read of net/http into %d bytes is taken to be one with %d bytes of a line of a header, "+
			"after %d deadlines; want %d, after 2", len(p), n, s.stand.deadlines, now.begun))
		return 0, io.EOF
	}
	n := copy(p, now.give)
	s.stand.deliver(p[:n])
	if n < len(now.give) {
		s.scenes = append([]scene{{give: now.give[n:]}}, s.scenes...)
	}
	return n, nil
}

// background is a Read by which net/http finds out whether the client is still there, during a request.
func (s *script) background(between bool) error {
	if between {
		s.failed(errors.New("a read of one byte is taken to be between requests"))
	}
	for !s.aborted && !s.closed {
		s.changed.Wait()
	}
	if s.closed {
		return net.ErrClosed
	}
	return timeoutError{}
}

func (s *script) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.changed.Broadcast()
	return nil
}

func (s *script) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stand.deadline()
	s.aborted = !t.IsZero() && t.Before(time.Now())
	s.changed.Broadcast()
	return nil
}

func (s *script) SetDeadline(t time.Time) error    { return s.SetReadDeadline(t) }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) LocalAddr() net.Addr              { return scriptAddr{} }
func (s *script) RemoteAddr() net.Addr             { return scriptAddr{} }

type timeoutError struct{}

func (timeoutError) Error() string   { return "deadline exceeded" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
