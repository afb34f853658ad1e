package listener

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/segue-go/segue/integration/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

// patience bounds every wait for something that must happen. No test gets faster or slower by it, unless it fails.
const patience = 10 * time.Second

// eventually waits for what cannot be waited for otherwise.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after %v: %s", patience, what)
		}
	}
}

// within receives from c, or fails.
func within[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("still waiting after %v: %s", patience, what)
		panic("unreachable")
	}
}

// queued waits until n calls stand at the gate.
func (g *gate) queued(t *testing.T, what string) {
	t.Helper()
	eventually(t, what+" stands at the gate", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.changed != nil
	})
}

func listen(t *testing.T, network, address string, o Options) *Listener {
	t.Helper()
	inner, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(inner, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Discard() })
	return l
}

// where returns networks and addresses to listen at, all that work here.
func where(t *testing.T) map[string][2]string {
	all := map[string][2]string{
		"tcp4": {"tcp4", "127.0.0.1:0"},
		"tcp6": {"tcp6", "[::1]:0"},
		"dual": {"tcp", ":0"},
		"unix": {"unix", filepath.Join(socketDir(t), "s")},
	}
	for name, at := range moreWhere(t) {
		all[name] = at
	}
	for name, at := range all {
		if l, err := net.Listen(at[0], at[1]); err == nil {
			_ = l.Close()
		} else {
			t.Logf("without %s: %v", name, err)
			delete(all, name)
		}
	}
	return all
}

// socketDir is short enough for sun_path, which t.TempDir need not be.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func dial(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

type accepted struct {
	conn net.Conn
	err  error
}

// accept calls Accept in a goroutine of its own, which the test waits for.
func accept(t *testing.T, l net.Listener) <-chan accepted {
	t.Helper()
	c := make(chan accepted, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if conn != nil {
			t.Cleanup(func() { _ = conn.Close() })
		}
		c <- accepted{conn, err}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
