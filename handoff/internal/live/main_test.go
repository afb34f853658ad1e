package live

import (
	"os"
	"sync"
	"testing"

	"github.com/segue-go/segue/integration/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

// taking is a departure that remembers what it took.
type taking struct {
	mu    sync.Mutex
	conns []Conn
	no    bool
}

func (d *taking) Move(c Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.no {
		return false
	}
	d.conns = append(d.conns, c)
	return true
}
