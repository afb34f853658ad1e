package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A connection counts from Accept on, not from StateNew (golang/go#33313).
func TestAcceptedBeforeStateNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		goOn := make(chan struct{})
		s := &http.Server{
			Handler: http.HandlerFunc(echo),
			// Called between Accept and StateNew.
			ConnContext: func(ctx context.Context, _ net.Conn) context.Context { <-goOn; return ctx },
		}
		r := start(newFake(ln), HTTP(s, ln))
		c := newClient(t, ln.dial())
		r.gen.supersede()
		r.gen.release()
		r.pending(t)
		close(goOn)
		r.pending(t)
		c.get("/late", true)
		r.returned(t, nil)
	})
}

// Even a connection that Accept has not returned when the drain ends is served: the kernel gave it to this process.
func TestAcceptReturnsAfterDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		ln.hold = make(chan struct{})
		r := start(newFake(ln), HTTP(&http.Server{Handler: http.HandlerFunc(echo)}, ln))
		c := newClient(t, ln.dial())
		r.gen.supersede()
		r.gen.release()
		r.pending(t)
		close(ln.hold)
		r.pending(t)
		c.get("/latest", true)
		r.returned(t, nil)
	})
}

func TestRequestInFlightFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		goOn := make(chan struct{})
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				<-goOn
			}
			echo(w, r)
		})}
		r := start(newFake(ln), HTTP(s, ln))
		c := newClient(t, ln.dial())
		c.send("GET /slow HTTP/1.1", "Host: test")
		synctest.Wait()
		r.gen.supersede()
		r.gen.release()
		r.pending(t)
		close(goOn)
		// Its handler began before the drain did, so this answer says nothing yet.
		if body, closes := c.receive(); body != "/slow" || closes {
			t.Fatalf("response: %q, close: %t", body, closes)
		}
		r.pending(t)
		c.get("/next", true)
		r.returned(t, nil)
	})
}

func TestKeptAliveIsToldOnNextResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		r := start(newFake(ln), HTTP(&http.Server{Handler: http.HandlerFunc(echo)}, ln))
		c := newClient(t, ln.dial())
		c.get("/1", false)
		c.get("/2", false)
		r.gen.supersede()
		r.gen.release()
		r.pending(t)
		time.Sleep(time.Hour) // no DrainTimeout
		r.pending(t)
		c.get("/3", true)
		r.returned(t, nil)
	})
}

// A request of which only a part has arrived is not idle to the client.
func TestHalfRequestIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		r := start(newFake(ln), HTTP(&http.Server{Handler: http.HandlerFunc(echo)}, ln))
		c := newClient(t, ln.dial())
		c.get("/1", false)
		if _, err := io.WriteString(c, "GET /half HT"); err != nil {
			t.Fatal(err)
		}
		r.gen.supersede()
		r.gen.release()
		r.pending(t)
		c.send("TP/1.1", "Host: test")
		if body, closes := c.receive(); body != "/half" || !closes {
			t.Fatalf("response: %q, close: %t", body, closes)
		}
		c.ended()
		r.returned(t, nil)
	})
}

func TestIdleIsLeftAloneUntilDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		gen := newFake(ln)
		gen.drainTimeout = time.Minute
		r := start(gen, HTTP(&http.Server{Handler: http.HandlerFunc(echo)}, ln))
		idle := newClient(t, ln.dial())
		idle.get("/", false)
		fresh := newClient(t, ln.dial()) // never sends anything
		begin := time.Now()
		gen.supersede()
		gen.release()
		ended := make(chan time.Duration, 2)
		for _, c := range []*client{idle, fresh} {
			go func() {
				c.ended()
				ended <- time.Since(begin)
			}()
		}
		<-r.done
		r.returned(t, nil)
		for range 2 {
			if d := <-ended; d != time.Minute {
				t.Errorf("closed after %v, want %v", d, time.Minute)
			}
		}
		if err := gen.drains[0]; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drain: %v, want it to say that it used force", err)
		}
	})
}

// A handler that ignores the end of its request's context holds up nothing.
func TestDeafHandlerIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		gen := newFake(ln)
		gen.drainTimeout = time.Minute
		goOn := make(chan struct{})
		s := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-goOn })}
		r := start(gen, HTTP(s, ln))
		c := newClient(t, ln.dial())
		c.send("GET / HTTP/1.1", "Host: test")
		gen.supersede()
		gen.release()
		begin := time.Now()
		<-r.done
		if d := time.Since(begin); d > time.Minute+3*lastCall {
			t.Errorf("Run returned after %v", d)
		}
		r.returned(t, nil)
		close(goOn)
		c.ended()
	})
}

func TestHijackedIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		var hijacked net.Conn
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			hijacked = c
		})}
		r := start(newFake(ln), HTTP(s, ln))
		c := newClient(t, ln.dial())
		c.send("GET / HTTP/1.1", "Host: test", "Connection: Upgrade", "Upgrade: test")
		synctest.Wait()
		r.gen.supersede()
		r.gen.release()
		r.returned(t, nil)
		go func() { _, _ = io.WriteString(hijacked, "still here") }()
		if b, err := c.r.Peek(10); err != nil || string(b) != "still here" {
			t.Errorf("hijacked connection: %q, %v", b, err)
		}
		_ = hijacked.Close()
		_ = c.Close()
	})
}

func TestSwitches(t *testing.T) {
	for _, tt := range []struct {
		name   string
		method string
		major  int
		header http.Header
		want   bool
	}{
		{"plain", "GET", 1, http.Header{}, false},
		{"websocket", "GET", 1, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, true},
		{"list", "GET", 1, http.Header{"Connection": {"keep-alive, upgrade"}, "Upgrade": {"websocket"}}, true},
		{"lines", "GET", 1, http.Header{"Connection": {"keep-alive", "upgrade"}, "Upgrade": {"websocket"}}, true},
		{"not hop by hop", "GET", 1, http.Header{"Upgrade": {"websocket"}}, false},
		{"nothing to upgrade to", "GET", 1, http.Header{"Connection": {"upgrade"}}, false},
		{"tunnel", "CONNECT", 1, http.Header{}, true},
		{"tunnel in a stream", "CONNECT", 2, http.Header{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Method: tt.method, ProtoMajor: tt.major, Header: tt.header}
			if got := switches(r); got != tt.want {
				t.Errorf("switches: %t, want %t", got, tt.want)
			}
		})
	}
}

func TestHooksAreChained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		var states []http.ConnState
		var shutdowns atomic.Int32
		s := &http.Server{
			Handler:   http.HandlerFunc(echo),
			ConnState: func(_ net.Conn, st http.ConnState) { states = append(states, st) },
		}
		s.RegisterOnShutdown(func() { shutdowns.Add(1) })
		r := start(newFake(ln), HTTP(s, ln))
		c := newClient(t, ln.dial())
		c.get("/", false)
		r.gen.supersede()
		r.pending(t)
		if n := shutdowns.Load(); n != 0 {
			t.Fatal("shutdown began while the generation could be revived")
		}
		c.get("/", true)
		r.pending(t)
		r.gen.release()
		r.returned(t, nil)
		want := []http.ConnState{http.StateNew, http.StateActive, http.StateIdle, http.StateActive, http.StateClosed}
		if len(states) != len(want) {
			t.Fatalf("states: %v, want %v", states, want)
		}
		for i := range want {
			if states[i] != want[i] {
				t.Fatalf("states: %v, want %v", states, want)
			}
		}
		if n := shutdowns.Load(); n != 1 {
			t.Errorf("functions of RegisterOnShutdown were called %d times", n)
		}
	})
}

func TestNilHandlerIsDefaultServeMux(t *testing.T) {
	mux := http.DefaultServeMux
	defer func() { http.DefaultServeMux = mux }()
	http.DefaultServeMux = http.NewServeMux()
	http.HandleFunc("/test-nil-handler", echo)
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		r := start(newFake(ln), HTTP(&http.Server{}, ln))
		c := newClient(t, ln.dial())
		c.get("/test-nil-handler", false)
		r.pending(t)
		r.stop()
		r.returned(t, nil)
		c.ended()
	})
}

func TestRevival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		r := start(newFake(ln), HTTP(&http.Server{Handler: http.HandlerFunc(echo)}, ln))
		a, b := newClient(t, ln.dial()), newClient(t, ln.dial())
		a.get("/", false)
		b.get("/", false)
		r.gen.supersede()
		r.pending(t)
		a.get("/", true)
		r.gen.revive()
		r.pending(t)
		b.get("/revived", false)
		c := newClient(t, ln.dial())
		c.get("/new", false)
		r.gen.supersede()
		r.gen.release()
		r.pending(t)
		b.get("/", true)
		c.get("/", true)
		r.returned(t, nil)
	})
}

// The drain is over, the guard is not.
func TestRevivalAfterDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		r := start(newFake(ln), HTTP(&http.Server{Handler: http.HandlerFunc(echo)}, ln))
		c := newClient(t, ln.dial())
		c.get("/", false)
		r.gen.supersede()
		r.pending(t)
		c.get("/", true)
		r.pending(t)
		r.gen.revive()
		r.pending(t)
		c = newClient(t, ln.dial())
		c.get("/revived", false)
		r.gen.supersede()
		r.gen.release()
		r.pending(t)
		c.get("/", true)
		r.returned(t, nil)
	})
}

// Force is not the end of a server that is revived later.
func TestRevivalAfterDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		gen := newFake(ln)
		gen.drainTimeout = time.Second
		r := start(gen, HTTP(&http.Server{Handler: http.HandlerFunc(echo)}, ln))
		c := newClient(t, ln.dial())
		c.get("/", false)
		gen.supersede()
		time.Sleep(2 * time.Second)
		c.ended()
		gen.revive()
		r.pending(t)
		c = newClient(t, ln.dial())
		c.get("/revived", false)
		gen.supersede()
		gen.release()
		r.pending(t)
		c.get("/", true)
		r.returned(t, nil)
	})
}

func TestOneServerTwoListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newPipeListener(), newPipeListener()
		var shutdowns atomic.Int32
		s := &http.Server{Handler: http.HandlerFunc(echo)}
		s.RegisterOnShutdown(func() { shutdowns.Add(1) })
		r := start(newFake(one, two), HTTP(s, one), HTTP(s, two))
		a, b := newClient(t, one.dial()), newClient(t, two.dial())
		a.get("/", false)
		b.get("/", false)
		r.gen.supersede()
		r.gen.release()
		r.pending(t)
		a.get("/", true)
		r.pending(t)
		b.get("/", true)
		r.returned(t, nil)
		if n := shutdowns.Load(); n != 1 {
			t.Errorf("functions of RegisterOnShutdown were called %d times", n)
		}
	})
}
