package supervise

import (
	"net"
	"path/filepath"
	"sync"
	"testing"
)

// TestBindStale binds a path that a dead process has left, several times at once. One gets it, and is reached there.
func TestBindStale(t *testing.T) {
	for range 100 {
		path := filepath.Join(t.TempDir(), "s")
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		ln.SetUnlinkOnClose(false)
		_ = ln.Close()
		var wg sync.WaitGroup
		bound := make(chan *socket, 8)
		for range cap(bound) {
			wg.Go(func() {
				if s, err := bindOne(t.Context(), Socket{Name: "s", Network: "unix", Address: path}); err == nil {
					bound <- s
				}
			})
		}
		wg.Wait()
		if len(bound) != 1 {
			t.Fatalf("%d have bound one path", len(bound))
		}
		if c, err := net.Dial("unix", path); err != nil {
			t.Fatal(err)
		} else {
			_ = c.Close()
		}
		(<-bound).close()
	}
}
