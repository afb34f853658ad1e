package serve

import (
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

// keepAlive is a client on one connection that asks and waits, without an allocation of its own.
type keepAlive struct {
	c   net.Conn
	buf []byte
}

var question = []byte("GET / HTTP/1.1\r\nHost: test\r\n\r\n")

func (k *keepAlive) ask(tb testing.TB) {
	if _, err := k.c.Write(question); err != nil {
		tb.Fatal(err)
	}
	n := 0
	for n < 4 || string(k.buf[n-2:n]) != "ok" {
		m, err := k.c.Read(k.buf[n:])
		if err != nil {
			tb.Fatal(err)
		}
		n += m
	}
}

func benchServer() *http.Server {
	return &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })}
}

// serveBare serves without this package, serveTracked with it.
func serveBare(tb testing.TB) net.Addr {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := benchServer()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln)
	}()
	tb.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return ln.Addr()
}

func serveTracked(tb testing.TB, holds bool) net.Addr {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	gen := newFake(ln)
	gen.holds = holds
	r := start(gen, HTTP(benchServer(), &registrar{Listener: ln}))
	tb.Cleanup(func() {
		r.stop()
		<-r.done
	})
	return ln.Addr()
}

func dialKeepAlive(tb testing.TB, addr net.Addr) *keepAlive {
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	k := &keepAlive{c: c, buf: make([]byte, 4096)}
	k.ask(tb)
	return k
}

// Requests per second on kept-alive connections. Rounds of both take turns, so that what else the machine does hits
// both.
func BenchmarkKeepAlive(b *testing.B) {
	for _, bb := range []struct {
		name string
		addr func() net.Addr
	}{
		{"bare", func() net.Addr { return serveBare(b) }},
		{"tracked", func() net.Addr { return serveTracked(b, false) }},
		{"recorded", func() net.Addr { return serveTracked(b, true) }},
	} {
		addr := bb.addr()
		b.Run(bb.name, func(b *testing.B) {
			const clients = 8
			ks := make([]*keepAlive, clients)
			for i := range ks {
				ks[i] = dialKeepAlive(b, addr)
			}
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i, k := range ks {
				n := b.N / clients
				if i == 0 {
					n += b.N % clients
				}
				wg.Go(func() {
					for range n {
						k.ask(b)
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

// What net/http calls for one short request that it finds waiting, without anything between: the difference of the two
// is what this package adds to each, which is lost in the noise of BenchmarkKeepAlive.
func BenchmarkRequestCalls(b *testing.B) {
	const size, queued = 45, 64
	for _, tracked := range []bool{false, true} {
		b.Run(map[bool]string{false: "bare", true: "tracked"}[tracked], func(b *testing.B) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer ln.Close()
			client, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			c, err := ln.Accept()
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			state := func(net.Conn, http.ConnState) {}
			if tracked {
				s := &http.Server{}
				st := newHTTPState(s)
				c = newTracker(st, s, ln).track(c)
				state = s.ConnState
			}
			requests, buf := make([]byte, size*queued), make([]byte, size)
			must := func(err error) {
				if err != nil {
					b.Fatal(err)
				}
			}
			for i := 0; b.Loop(); i++ {
				if i%queued == 0 {
					_, err := client.Write(requests)
					must(err)
				}
				must(c.SetReadDeadline(time.Time{})) // idle
				_, err := c.Read(buf)
				must(err)
				must(c.SetReadDeadline(time.Time{})) // the whole request
				state(c, http.StateActive)
				must(c.SetReadDeadline(time.Time{})) // in the background, into one byte, until the answer is there
				must(c.SetReadDeadline(past()))
				if _, err := c.Read(buf[:1]); !errors.Is(err, os.ErrDeadlineExceeded) {
					b.Fatal(err)
				}
				must(c.SetReadDeadline(time.Time{}))
				state(c, http.StateIdle)
			}
		})
	}
}

// A request on a connection that can move costs no allocation more than on one that cannot.
func TestNoAllocationOnTracked(t *testing.T) {
	const requests = 500
	// The least of some rounds: pools that the garbage collector, or the race detector, has emptied count as well.
	allocs := func(k *keepAlive) float64 {
		least := math.Inf(1)
		for range 5 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range requests {
				k.ask(t)
			}
			runtime.ReadMemStats(&after)
			least = min(least, float64(after.Mallocs-before.Mallocs)/requests)
		}
		return least
	}
	want := allocs(dialKeepAlive(t, serveBare(t)))
	for _, holds := range []bool{false, true} {
		if got := allocs(dialKeepAlive(t, serveTracked(t, holds))); got > want+0.7 {
			t.Errorf("%.2f allocations per request, %.2f on a bare connection; holds: %t", got, want, holds)
		}
	}
}
