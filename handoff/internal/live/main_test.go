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
	mu      sync.Mutex
	conns   []Conn // have left
	offered []Conn
	no      bool
}

// Offer waits for leave.
func (d *taking) Ask(conns []Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.offered = append(d.offered, conns...)
}

// leave has leave what was offered.
func (d *taking) leave() {
	d.mu.Lock()
	offered := d.offered
	d.offered = nil
	d.mu.Unlock()
	for _, c := range offered {
		if c.Leave() {
			d.Move(c)
		}
	}
}

// keep has all that have left come back.
func (d *taking) keep() {
	d.mu.Lock()
	conns := d.conns
	d.conns = nil
	d.mu.Unlock()
	for _, c := range conns {
		c.Kept()
	}
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
