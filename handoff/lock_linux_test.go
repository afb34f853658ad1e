package handoff

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestLockRemoved: however often the lock file is removed by those who hold it, one at a time holds it.
func TestLockRemoved(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	path := filepath.Join(t.TempDir(), "s")
	var holders atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		g := &Generation{cfg: Config{Path: path}}
		wg.Go(func() {
			for i := range 50 {
				err := g.withLock(ctx, func() error {
					if n := holders.Add(1); n != 1 {
						t.Errorf("%d hold it", n)
					}
					if i%2 == 0 {
						_ = os.Remove(g.lockName())
					}
					holders.Add(-1)
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestLockSwept: one whose lock file was removed by somebody else does not get a lock that others do not see.
func TestLockSwept(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s.lock")
	first, made, err := tryLock(name)
	if err != nil || !made {
		t.Fatal(made, err)
	}
	if second, _, err := tryLock(name); second != nil || err != nil {
		t.Fatalf("two locks: %v, %v", second, err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	third, made, err := tryLock(name)
	if err != nil || third == nil || !made {
		t.Fatal(third, made, err)
	}
	_ = third.Close()
}
