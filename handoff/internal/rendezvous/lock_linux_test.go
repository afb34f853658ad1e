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
				lock, _, err := tryLock(name)
				if err != nil {
					t.Error(err)
					return
				}
				if lock == nil {
					continue
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold it", n)
				}
				runtime.Gosched()
				holders.Add(-1)
				_ = os.Remove(name) // the last thing that a holder does
				_ = lock.Close()
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
