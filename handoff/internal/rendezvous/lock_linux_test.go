package rendezvous

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestLockRemoved: however often the lock file is removed by those who hold it, one at a time holds it.
func TestLockRemoved(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s.lock")
	var holders atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5000 {
				lock, locked, err := tryLock(name)
				if err != nil {
					t.Error(err)
					return
				}
				if !locked {
					continue
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold it", n)
				}
				runtime.Gosched()
				holders.Add(-1)
				_ = os.Remove(name) // the last thing that a holder does
				_ = lock.file.Close()
			}
		})
	}
	wg.Wait()
}

// TestLockSwept: one whose lock file was removed by somebody else does not get a lock that others do not see.
func TestLockSwept(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s.lock")
	first, _, err := tryLock(name)
	if err != nil || !first.made {
		t.Fatal(first, err)
	}
	if second, locked, err := tryLock(name); locked || err != nil {
		t.Fatalf("two locks: %v, %v", second, err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	_ = first.file.Close()
	third, locked, err := tryLock(name)
	if err != nil || !locked || !third.made {
		t.Fatal(third, locked, err)
	}
	_ = third.file.Close()
}
