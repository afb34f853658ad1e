package serve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/live"
)

// fakeGeneration is a generation without sockets of its own, whose fate the test decides: supersede, revive, release.
type fakeGeneration struct {
	live.Host
	onReady      func(context.Context) error
	drainTimeout time.Duration // as Config's, but 0 is no limit
	lns          []net.Listener
	sections     map[string]handoff.Section
	holds        bool        // has state that moves
	holder       live.Holder // of the last server

	mu       sync.Mutex
	current  *fakeSuccession
	readied  int
	drains   []error // what drain returned each time
	closed   chan struct{}
	released chan struct{} // for its life
	failed   error         // what Fail was called with
	check    chan error    // why the sockets were handed back
}

type fakeSuccession struct{ superseded, revived chan struct{} }

func newFakeSuccession() *fakeSuccession {
	return &fakeSuccession{make(chan struct{}), make(chan struct{})}
}

func newFake(lns ...net.Listener) *fakeGeneration {
	g := &fakeGeneration{current: newFakeSuccession(), closed: make(chan struct{}), released: make(chan struct{}), check: make(chan error, 1), lns: lns}
	g.Host = live.NewHost(func(h live.Holder) (bool, func()) {
		g.holder = h
		return g.holds, func() {}
	})
	return g
}

func (g *fakeGeneration) succession() *fakeSuccession {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.current
}

func (g *fakeGeneration) supersede() { close(g.succession().superseded) }

// release ends the guard: no revival from here on.
func (g *fakeGeneration) release() { close(g.released) }

func (g *fakeGeneration) revive() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.current.revived)
	g.current = newFakeSuccession()
}

// handBack ends the generation: its listeners first, and then, a little later, the rest.
func (g *fakeGeneration) handBack(err error) {
	g.closeListeners()
	time.Sleep(10 * time.Millisecond)
	close(g.released)
	g.check <- err
}

func (g *fakeGeneration) State(name string, s handoff.Section) error {
	if g.sections == nil {
		g.sections = make(map[string]handoff.Section)
	}
	g.sections[name] = s
	return nil
}

func (g *fakeGeneration) Released() <-chan struct{} { return g.released }

func (g *fakeGeneration) DrainTimeout() time.Duration {
	if g.drainTimeout == 0 {
		return -1
	}
	return g.drainTimeout
}

func (g *fakeGeneration) StopTimeout() time.Duration { return g.DrainTimeout() }

func (g *fakeGeneration) Ready(ctx context.Context) error {
	g.mu.Lock()
	g.readied++
	g.mu.Unlock()
	if g.onReady != nil {
		return g.onReady(ctx)
	}
	return nil
}

func (g *fakeGeneration) Wait(ctx context.Context, drain func(context.Context) error) error {
	for {
		s := g.succession()
		select {
		case <-ctx.Done():
			return fmt.Errorf("fake wait: %w", context.Cause(ctx))
		case <-g.closed:
			return fmt.Errorf("fake wait: %w", net.ErrClosed)
		case err := <-g.check:
			return errors.Join(err, g.drain(ctx, s, drain))
		case <-s.superseded:
		}
		err := g.drain(ctx, s, drain)
		select {
		case <-s.revived:
			continue
		case <-g.released:
		case <-ctx.Done():
			return fmt.Errorf("fake wait: %w", context.Cause(ctx))
		}
		g.closeListeners()
		return err
	}
}

func (g *fakeGeneration) drain(ctx context.Context, s *fakeSuccession, drain func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if g.drainTimeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, g.drainTimeout)
		defer stop()
	}
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		select {
		case <-s.revived:
			cancel()
		case <-finished:
		}
	}()
	err := drain(ctx)
	g.mu.Lock()
	g.drains = append(g.drains, err)
	g.mu.Unlock()
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func (g *fakeGeneration) closeListeners() {
	for _, l := range g.lns {
		_ = l.Close()
	}
}

func (g *fakeGeneration) Fail(err error) error {
	g.mu.Lock()
	g.failed = err
	g.mu.Unlock()
	return g.Close()
}

func (g *fakeGeneration) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.closed:
	default:
		close(g.closed)
		g.closeListeners()
		if !closed(g.released) {
			close(g.released)
		}
	}
	return nil
}

func (g *fakeGeneration) isClosed() bool {
	select {
	case <-g.closed:
		return true
	default:
		return false
	}
}

func (g *fakeGeneration) readyCalls() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.readied
}

// pipeListener is a listener in memory, so that tests can run in a synctest bubble.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	hold  chan struct{} // not nil: what Accept got, it returns only when this is closed

	dialed atomic.Int32
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		if l.hold != nil {
			<-l.hold
		}
		return c, nil
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "pipe", Err: net.ErrClosed}
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr("pipe") }

type pipeAddr string

func (a pipeAddr) Network() string { return "pipe" }
func (a pipeAddr) String() string  { return string(a) }

// dial makes a connection from an address of its own.
func (l *pipeListener) dial() net.Conn {
	c, s := net.Pipe()
	l.conns <- &pipeEnd{s, pipeAddr(fmt.Sprintf("pipe-%d", l.dialed.Add(1)))}
	return c
}

type pipeEnd struct {
	net.Conn
	from pipeAddr
}

func (c *pipeEnd) RemoteAddr() net.Addr { return c.from }

// running is a Run in the background.
type running struct {
	gen  *fakeGeneration
	stop context.CancelFunc
	done chan struct{}
	err  error
}

// HTTP servers ask their clients to leave at once.
func start(gen *fakeGeneration, servers ...Server) *running {
	for i, s := range servers {
		servers[i] = s.Spread(0)
	}
	return begin(gen, servers...)
}

// begin is start for servers as they are.
func begin(gen *fakeGeneration, servers ...Server) *running {
	ctx, stop := context.WithCancel(context.Background())
	r := &running{gen: gen, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer stop()
		r.err = run(ctx, gen, servers)
	}()
	return r
}

// pending fails the test if Run has returned once everything has come to rest.
func (r *running) pending(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case <-r.done:
		t.Fatalf("Run returned too early: %v", r.err)
	default:
	}
}

// returned waits for Run, which must not need any time from here on.
func (r *running) returned(t *testing.T, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case <-r.done:
	default:
		t.Fatal("Run has not returned")
	}
	if !errors.Is(r.err, want) {
		t.Fatalf("Run: %v, want %v", r.err, want)
	}
	if want == nil && !r.gen.isClosed() {
		t.Fatal("Run returned nil and did not close the generation")
	}
}

// client is one HTTP/1.1 connection of a client that sends only what it is told to.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func newClient(t testing.TB, c net.Conn) *client {
	return &client{t: t, Conn: c, r: bufio.NewReader(c)}
}

func (c *client) send(lines ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// receive returns the body of the next response, and whether it ends the connection.
func (c *client) receive() (string, bool) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("receive body: %v", err)
	}
	return string(body), resp.Close
}

// get makes a request and checks whether its answer ends the connection.
func (c *client) get(path string, wantClose bool) {
	c.t.Helper()
	c.send("GET "+path+" HTTP/1.1", "Host: test")
	body, closes := c.receive()
	if body != path {
		c.t.Fatalf("GET %s: %q", path, body)
	}
	if closes != wantClose {
		c.t.Fatalf("GET %s: response says close: %t, want %t", path, closes, wantClose)
	}
	if closes {
		c.ended()
	}
}

// ended checks that the server has closed the connection.
func (c *client) ended() {
	c.t.Helper()
	if _, err := c.r.ReadByte(); err != io.EOF {
		c.t.Fatalf("after the last response: %v, want EOF", err)
	}
	_ = c.Close()
}

// echo answers with the path of the request.
func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }
