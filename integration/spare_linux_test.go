package integration

import (
	"net"
	"sync"
	"testing"
	"time"
)

// TestHandoverWithoutDescriptors: an incumbent whose clients have all its descriptors, stand in line for more, and come and
// go, still hands over, in both ways, again and again.
func TestHandoverWithoutDescriptors(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w, a := liveWorld(t, "tcp")
			w.conf.Start = "nofile=100"
			from := w.take("join", a, "http")
			w.ended(a)
			for range 5 {
				leave := besiege(t, w.addr, 150)
				w.opens(from, 98, 110)
				to := w.take(way, from, "http")
				leave() // some stand in line for the successor too, or are still with the one before
				w.ended(from)
				c := w.connect(0)
				c.answeredBy(t, to.pid)
				_ = c.c.Close()
				from = to
			}
		})
	}
}

// besiege makes n clients that say nothing; of each ten, one leaves and comes again all the time.
func besiege(t *testing.T, addr string, n int) (leave func()) {
	t.Helper()
	left := make(chan struct{})
	var wg sync.WaitGroup
	var first sync.WaitGroup
	for i := range n {
		first.Add(1)
		wg.Go(func() {
			for again := false; ; again = true {
				c, err := net.DialTimeout("tcp", addr, patience)
				if !again {
					first.Done()
				}
				if err != nil {
					return // it may stand in line for too long
				}
				if i%10 == 0 {
					_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
					_, _ = c.Read(make([]byte, 1))
				} else {
					<-left
				}
				_ = c.Close()
				select {
				case <-left:
					return
				default:
				}
			}
		})
	}
	first.Wait()
	return func() {
		close(left)
		wg.Wait()
	}
}
