package listener

import (
	"net"
	"testing"
	"time"
)

// BenchmarkAccept accepts from a queue that is filled beforehand, by turns from a bare net.Listener and from ours,
// and reports what one Accept costs each, and the ratio of the two.
func BenchmarkAccept(b *testing.B) {
	for _, at := range [][2]string{{"tcp", "127.0.0.1:0"}, {"unix", ""}} {
		b.Run(at[0], func(b *testing.B) {
			if at[0] == "unix" {
				at[1] = b.TempDir() + "/s"
			}
			bare, err := net.Listen(at[0], at[1])
			if err != nil {
				b.Fatal(err)
			}
			defer bare.Close()
			if at[0] == "unix" {
				at[1] += "2"
			}
			inner, err := net.Listen(at[0], at[1])
			if err != nil {
				b.Fatal(err)
			}
			ours, err := New(inner, Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer ours.Close()
			if err := ours.Open(); err != nil {
				b.Fatal(err)
			}
			var spent [2]time.Duration
			n := 0
			const batch = 64
			for i := 0; b.Loop(); i++ {
				if i%batch != 0 { // a batch counts as one iteration per connection
					continue
				}
				n += batch
				b.StopTimer()
				for turn := range 2 {
					which := (turn + i/batch) % 2 // who comes first would otherwise have colder caches
					spent[which] += acceptBatch(b, []net.Listener{bare, ours}[which], batch)
				}
				b.StartTimer()
			}
			b.ReportMetric(0, "ns/op") // the loop is no measure of anything
			b.ReportMetric(float64(spent[0].Nanoseconds())/float64(n), "bare-ns/accept")
			b.ReportMetric(float64(spent[1].Nanoseconds())/float64(n), "ours-ns/accept")
			b.ReportMetric(float64(spent[1])/float64(spent[0]), "ours/bare")
		})
	}
}

func acceptBatch(b *testing.B, l net.Listener, n int) time.Duration {
	b.Helper()
	conns := make([]net.Conn, 0, 2*n)
	for range n {
		c, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		conns = append(conns, c)
	}
	start := time.Now()
	for range n {
		c, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		conns = append(conns, c)
	}
	spent := time.Since(start)
	for _, c := range conns {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // leaves no TIME_WAIT behind: ports are finite
		}
		_ = c.Close()
	}
	return spent
}

// BenchmarkGate is the price of passing, which is all that pausing costs while it does not happen.
func BenchmarkGate(b *testing.B) {
	g := &gate{}
	if err := g.init(func(time.Time) error { return nil }); err != nil {
		b.Fatal(err)
	}
	if err := g.open(); err != nil {
		b.Fatal(err)
	}
	pass := func() {
		epoch, err := g.enter()
		if err == nil {
			g.leave(epoch, nil)
		}
	}
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			pass()
		}
	})
	b.Run("contended", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				pass()
			}
		})
	})
}
