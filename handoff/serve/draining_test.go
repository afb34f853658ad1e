package serve

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// On a connection that cannot move, an endless response is asked to end at that connection's moment, and the next one
// is the last there: so its client comes back to the successor at once, and not with all others.
func TestDrainingIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, over = 40, 20 * time.Second
		ln := newPipeListener()
		endless := func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/endless" {
				<-Draining(r.Context())
			}
			echo(w, r)
		}
		r := begin(newFake(ln), HTTP(&http.Server{Handler: http.HandlerFunc(endless)}, ln).Spread(over))
		clients := make([]*client, n)
		for i := range clients {
			clients[i] = newClient(t, ln.dial())
			clients[i].send("GET /endless HTTP/1.1", "Host: test")
		}
		synctest.Wait()
		r.gen.supersede()
		begun := time.Now()
		ends := make(chan time.Duration)
		for _, c := range clients {
			go func() {
				c.receive()
				at := time.Since(begun)
				c.get("/next", true)
				ends <- at
			}()
		}
		seconds := make(map[time.Duration]int)
		for range n {
			at := <-ends
			if seconds[at/time.Second]++; at > over {
				t.Errorf("asked after %v", at)
			}
		}
		for at, k := range seconds {
			if k > n/2 {
				t.Errorf("%d of %d were asked in second %d", k, n, at)
			}
		}
		r.gen.release()
		<-r.done
		r.returned(t, nil)
	})
}

// A revival undoes what has not happened yet; who has been told asks anew. A hold is for all, at once.
func TestDrainingRevived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newHTTPState(new(http.Server))
		over := 20 * time.Second
		st.spread.init(&over, 0)
		s := &scope{st: st, net: &pipeEnd{nil, "pipe-1"}}
		request := func() (context.Context, context.CancelFunc) {
			return context.WithCancel(context.WithValue(t.Context(), scopeKey{}, s))
		}
		ctx, cancel := request()
		early := Draining(ctx)
		if Draining(context.WithValue(ctx, t, t)) != early {
			t.Error("two channels for one request")
		}
		st.spread.begin()
		st.draining.begin(false)
		if closed(early) {
			t.Error("closed before its moment")
		}
		st.draining.end(false)
		time.Sleep(time.Hour)
		synctest.Wait()
		if closed(early) {
			t.Error("closed though the generation was revived")
		}
		st.draining.begin(true)
		if !closed(early) || !closed(Draining(ctx)) {
			t.Error("not closed by a hold")
		}
		st.draining.end(true)
		if closed(Draining(ctx)) {
			t.Error("closed though the hold has ended")
		}
		st.spread.begin()
		st.draining.begin(false)
		other, done := request()
		late := Draining(other)
		done() // its request is over, and so nobody waits for its moment
		<-Draining(ctx)
		if synctest.Wait(); closed(late) {
			t.Error("closed though its request was over")
		}
		cancel()
		synctest.Wait()
		if n := len(st.draining.asking); n != 0 {
			t.Errorf("%d requests are remembered", n)
		}
		if Draining(t.Context()) != nil {
			t.Error("a channel for what is no request")
		}
	})
}
