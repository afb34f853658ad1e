package serve

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestContextEndsHTTP(t *testing.T) {
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
		idle, busy := newClient(t, ln.dial()), newClient(t, ln.dial())
		idle.get("/", false)
		busy.send("GET /slow HTTP/1.1", "Host: test")
		synctest.Wait()
		r.stop()
		idle.ended()
		r.pending(t)
		close(goOn)
		if body, closes := busy.receive(); body != "/slow" || !closes {
			t.Errorf("response: %q, close: %t", body, closes)
		}
		busy.ended()
		<-r.done // Shutdown polls
		r.returned(t, nil)
	})
}

func TestContextEndsWhileDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		r := start(newFake(ln), HTTP(&http.Server{Handler: http.HandlerFunc(echo)}, ln))
		c := newClient(t, ln.dial())
		c.get("/", false)
		r.gen.supersede()
		r.pending(t)
		r.stop()
		c.ended()
		r.returned(t, nil)
	})
}

func TestContextEndsByForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		s := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		})}
		gen := newFake(ln)
		gen.drainTimeout = time.Minute
		r := start(gen, HTTP(s, ln))
		c := newClient(t, ln.dial())
		c.send("GET / HTTP/1.1", "Host: test")
		synctest.Wait()
		begin := time.Now()
		r.stop()
		<-r.done
		r.returned(t, nil)
		if d := time.Since(begin); d < time.Minute || d > time.Minute+2*lastCall {
			t.Errorf("stopped after %v", d)
		}
		_ = c.Close()
	})
}
