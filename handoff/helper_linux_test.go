package handoff_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/integration/decisions"
)

const (
	// patience bounds every wait of a test: no test comes near it unless it fails.
	patience = 10 * time.Second
	// moment is for what must not happen: a test waits so long to see that it does not.
	moment = 50 * time.Millisecond
)

// bounded returns a context that ends with the test, or a deadline.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// rendezvous returns a path short enough for a socket.
func rendezvous(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// config is for a generation on path that is not patient for long. Its log is shown if the test fails.
func config(t *testing.T, path string) handoff.Config {
	return handoff.Config{
		Path:         path,
		StepTimeout:  3 * time.Second,
		ReadyTimeout: 5 * time.Second,
		DrainTimeout: 5 * time.Second,
		Guard:        20 * time.Millisecond,
		Transport:    transportOf(),
		Logger:       loggerTo(t, logTo(t), slog.LevelDebug),
	}
}

// loggerTo logs to w, and fails the test if a generation decides what is no row of the tables in docs/protocol.md. see is called
// for each decision.
func loggerTo(t *testing.T, w io.Writer, level slog.Level, see ...func(decisions.Decision)) *slog.Logger {
	t.Helper()
	table, err := decisions.Read("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []decisions.Decision
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, err := range table.Check(seen) {
			t.Error(err)
		}
		if err := decisions.Keep("handoff", seen); err != nil {
			t.Error(err)
		}
	})
	return slog.New(decisions.Handler{
		Handler: slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}),
		See: func(d decisions.Decision) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, d)
			for _, f := range see {
				f(d)
			}
		},
	})
}

// logTo collects what is written until the test ends, which t.Log would not survive in other goroutines.
func logTo(t *testing.T) io.Writer {
	w := &logWriter{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of a generation:\n%s", w)
		}
	})
	return w
}

type logWriter struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *logWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *logWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// join is handoff.Join; the generation is closed with the test.
func join(t *testing.T, c handoff.Config) *handoff.Generation {
	t.Helper()
	g, err := handoff.Join(bounded(t), c)
	if err != nil {
		t.Fatalf("Join: %v", err)
	}
	t.Cleanup(func() { shut(t, g) })
	return g
}

// shut closes g, within bounds.
func shut(t *testing.T, g *handoff.Generation) {
	t.Helper()
	within(t, "Close", func() {
		if err := g.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// within runs f, and fails with all stacks if it takes too long.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	await(t, what, done)
}

// await waits for c to be closed.
func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
		t.Fatalf("%s does not happen\n%s", what, stacks())
	}
}

// result receives from c, or fails.
func result[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatalf("%s does not come\n%s", what, stacks())
		panic("unreachable")
	}
}

// pending fails if c has something, now or within a moment.
func pending[T any](t *testing.T, what string, c <-chan T) {
	t.Helper()
	timer := time.NewTimer(moment)
	defer timer.Stop()
	select {
	case v := <-c:
		t.Fatalf("%s: already %v", what, v)
	case <-timer.C:
	}
}

func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}

// eventually polls for what cannot be waited for.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(time.Millisecond)
	}
}

// awaitPhase waits until g stands in one of phases.
func awaitPhase(t *testing.T, g *handoff.Generation, phases ...handoff.Phase) {
	t.Helper()
	eventually(t, "phase", func() bool {
		now := g.Status().Phase
		for _, p := range phases {
			if p == now {
				return true
			}
		}
		return false
	})
}

// superseded waits until a successor of g has confirmed.
func superseded(t *testing.T, g *handoff.Generation) {
	t.Helper()
	awaitPhase(t, g, handoff.PhaseDraining, handoff.PhaseStopped)
}

func listen(t *testing.T, g *handoff.Generation, network, address string) net.Listener {
	t.Helper()
	l, err := g.Listen(bounded(t), network, address)
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	return l
}

func listenAs(t *testing.T, g *handoff.Generation, name, network, address string) net.Listener {
	t.Helper()
	l, err := g.ListenAs(bounded(t), name, network, address, nil)
	if err != nil {
		t.Fatalf("ListenAs: %v", err)
	}
	return l
}

func listenPacket(t *testing.T, g *handoff.Generation, network, address string) net.PacketConn {
	t.Helper()
	c, err := g.ListenPacket(bounded(t), network, address)
	if err != nil {
		t.Fatalf("ListenPacket: %v", err)
	}
	return c
}

func ready(t *testing.T, g *handoff.Generation) {
	t.Helper()
	if err := g.Ready(bounded(t)); err != nil {
		t.Fatalf("Ready: %v", err)
	}
}

// first is a generation that serves on one TCP listener, chosen by the kernel.
func first(t *testing.T, c handoff.Config) (*handoff.Generation, net.Listener) {
	t.Helper()
	g := join(t, c)
	l := listen(t, g, "tcp", "127.0.0.1:0")
	ready(t, g)
	if c.Path != "" && len(c.Path) < 98 { // its descriptor is there when a test counts
		eventually(t, "the control socket", func() bool { _, err := os.Stat(c.Path + ".control"); return err == nil })
	}
	return g, l
}

// waiting calls g.Wait, and returns where its result comes.
func waiting(t *testing.T, g *handoff.Generation, drain func(context.Context) error) <-chan error {
	c := make(chan error, 1)
	ctx := bounded(t)
	go func() { c <- g.Wait(ctx, drain) }()
	return c
}

// accepting calls l.Accept once, and returns where its result comes. The connection is closed with the test.
func accepting(t *testing.T, l net.Listener) <-chan error {
	c := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_ = conn.Close()
		}
		c <- err
	}()
	return c
}

// serves fails unless a client of address, dialled now, is accepted by l.
func serves(t *testing.T, l net.Listener) {
	t.Helper()
	accepted := make(chan net.Conn, 1)
	failed := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			failed <- err
			return
		}
		accepted <- c
	}()
	client := dial(t, l.Addr())
	defer client.Close()
	select {
	case c := <-accepted:
		defer c.Close()
		talk(t, client, c)
	case err := <-failed:
		t.Fatalf("Accept: %v", err)
	case <-time.After(patience):
		t.Fatal("the client is not accepted")
	}
}

// talk sends a word from a to b and back.
func talk(t *testing.T, a, b net.Conn) {
	t.Helper()
	_ = a.SetDeadline(time.Now().Add(patience))
	_ = b.SetDeadline(time.Now().Add(patience))
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		word := make([]byte, 5)
		if _, err := pair[0].Write([]byte("hello")); err != nil {
			t.Fatalf("write: %v", err)
		}
		if _, err := io.ReadFull(pair[1], word); err != nil || string(word) != "hello" {
			t.Fatalf("read %q: %v", word, err)
		}
	}
}

func dial(t *testing.T, a net.Addr) net.Conn {
	t.Helper()
	d := net.Dialer{Timeout: patience}
	c, err := d.Dial(a.Network(), a.String())
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// queued dials a without expecting to be accepted yet.
func queued(t *testing.T, a net.Addr, n int) []net.Conn {
	t.Helper()
	var all []net.Conn
	for range n {
		all = append(all, dial(t, a))
	}
	return all
}

// wantErr fails unless err is target.
func wantErr(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("%s: got error %v, want %v", what, err, target)
	}
}

// superseding is the usual case: b takes over from a, and a is drained.
func supersede(t *testing.T, a, b *handoff.Generation) {
	t.Helper()
	ready(t, b)
	if err := result(t, "the end of Wait", waiting(t, a, nil)); err != nil {
		t.Fatalf("Wait: %v", err)
	}
}

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func asError[T error](err error, target *T) bool { return errors.As(err, target) }
