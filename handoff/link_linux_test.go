package handoff

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// linkPair returns two ends that talk to each other.
func linkPair(t *testing.T) (a, b *link) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := make([]*link, 2)
	for i, n := range pair {
		c, err := unixConn(listener.NewFD(n))
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = newLink(c, time.Second, &Trace{})
		t.Cleanup(ends[i].close)
	}
	return ends[0], ends[1]
}

// recv with a context that has ended gives all that was queued before, and then the end, each time at once: two of them
// in a row must not take each other's wake-up away.
func TestRecvLastLook(t *testing.T) {
	a, b := linkPair(t)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for round := range 20000 {
		if err := a.send(&wire.Ping{}); err != nil {
			t.Fatal(err)
		}
		for got := 0; ; got++ {
			result := make(chan error, 1)
			go func() {
				_, err := b.recv(done, 0)
				result <- err
			}()
			select {
			case err := <-result:
				if err == nil {
					continue
				}
				if !errors.Is(err, context.Canceled) || got != 1 {
					t.Fatalf("round %d: %d frames, then %v", round, got, err)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("round %d: recv hangs", round)
			}
			break
		}
	}
}
