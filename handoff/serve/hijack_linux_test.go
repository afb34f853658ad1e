package serve_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
)

// hub is a WebSocket server whose sessions cannot move: its clients are told to leave.
type hub struct {
	gen   *handoff.Generation
	ln    net.Listener
	stop  context.CancelFunc
	ended chan error
	final chan struct{} // closed when Released is, as it was asked for at the start

	mu       sync.Mutex
	leaving  bool
	sessions map[net.Conn]struct{}
}

// goingAway is a WebSocket close frame with status 1001 (RFC 6455, sections 5.5.1 and 7.4.1).
var goingAway = []byte{0x88, 2, 1001 >> 8, 1001 & 0xff}

func newHub(t *testing.T, path string) *hub {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	gen, err := handoff.Join(ctx, handoff.Config{Path: path, Guard: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := gen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{gen: gen, ln: ln, stop: stop, ended: make(chan error, 1), final: make(chan struct{}), sessions: map[net.Conn]struct{}{}}
	released := gen.Released()
	go func() {
		defer close(h.final)
		<-released
	}()
	over := make(chan struct{})
	go func() {
		h.ended <- serve.Run(ctx, gen, serve.HTTP(&http.Server{Handler: h}, ln),
			serve.Func(nil, func(net.Listener) error { <-over; return nil }, h.drain))
	}()
	go func() {
		defer close(over)
		<-gen.Released()
	}()
	t.Cleanup(h.stop)
	return h
}

// ServeHTTP makes a session of each connection.
func (h *hub) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_ = c.SetDeadline(time.Time{})
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.leaving {
		_, _ = c.Write(goingAway)
	}
	h.sessions[c] = struct{}{}
	go func() {
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.sessions, c)
	}()
}

// drain is called each time that this generation is superseded.
func (h *hub) drain(ctx context.Context) error {
	h.mu.Lock()
	h.leaving = true
	for c := range h.sessions {
		_, _ = c.Write(goingAway)
	}
	h.mu.Unlock()
	select {
	case <-h.gen.Released():
		return nil
	case <-ctx.Done(): // revived
		h.mu.Lock()
		defer h.mu.Unlock()
		h.leaving = false
		return ctx.Err()
	}
}

// session opens one, and returns a function that waits until its client is told to leave.
func (h *hub) session(t *testing.T) (left func()) {
	t.Helper()
	c, err := net.Dial("tcp", h.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	return func() {
		t.Helper()
		frame := make([]byte, len(goingAway))
		if _, err := io.ReadFull(r, frame); err != nil || string(frame) != string(goingAway) {
			t.Fatalf("a client that is to leave gets %x, %v", frame, err)
		}
		_ = c.Close()
	}
}

// owns waits until it serves, nobody is told to leave, and nothing of an attempt to hand over is left.
func (h *hub) owns(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		s := h.gen.Status()
		h.mu.Lock()
		leaving := h.leaving
		h.mu.Unlock()
		if s.Phase == handoff.PhaseServing && s.Successor == 0 && !leaving {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it does not serve: %+v", s)
		}
	}
}

// TestToldAfterRevival: the clients of hijacked connections are told to leave by each upgrade, also by the second one after
// a revival, and who asked for Released before the revival learns of the end.
func TestToldAfterRevival(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segue.sock")
	a := newHub(t, path)
	a.owns(t)
	left := a.session(t)
	b := newHub(t, path)
	b.owns(t)
	left()
	_ = b.gen.Fail(errors.New("unwell"))
	a.owns(t)
	if err := <-b.ended; !errors.Is(err, handoff.ErrHandedBack) {
		t.Errorf("Run of what failed: %v", err)
	}

	left = a.session(t)
	c := newHub(t, path)
	c.owns(t)
	left()
	select {
	case <-a.final:
		t.Error("Released in the guard")
	default:
	}
	next := c.session(t)
	c.stop() // for good, so that nobody is revived
	for _, h := range []*hub{a, c} {
		if err := <-h.ended; err != nil {
			t.Error(err)
		}
		<-h.final
	}
	next()
}
