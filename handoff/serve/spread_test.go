package serve

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// Clients on connections that cannot move are asked to leave one after the other, over the time that is set, and each
// is served until then.
func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, over = 40, 20 * time.Second
		ln := newPipeListener()
		r := begin(newFake(ln), HTTP(&http.Server{Handler: http.HandlerFunc(echo)}, ln).Spread(over))
		clients := make([]*client, n)
		for i := range clients {
			clients[i] = newClient(t, ln.dial())
			clients[i].get("/before", false)
		}
		r.gen.supersede()
		r.gen.release()
		synctest.Wait()
		var left []int // how many have been asked, second by second
		for range int(over/time.Second) + 1 {
			asked := 0
			for i, c := range clients {
				if c == nil {
					continue
				}
				c.send("GET /x HTTP/1.1", "Host: test")
				if body, closes := c.receive(); body != "/x" {
					t.Fatalf("answer %q", body)
				} else if closes {
					c.ended()
					clients[i] = nil
					asked++
				}
			}
			left = append(left, asked)
			time.Sleep(time.Second)
		}
		total, most := 0, 0
		for _, k := range left {
			total, most = total+k, max(most, k)
		}
		if total != n || most > n/2 {
			t.Errorf("%d of %d clients were asked, second by second %v", total, n, left)
		}
		<-r.done
		r.returned(t, nil)
	})
}

// What the time is by default, and that the moments are spread over all of it.
func TestSpreadPlaces(t *testing.T) {
	st := new(httpState)
	over := time.Hour
	st.spread.init(&over, 0)
	st.spread.base = st.spread.base.Add(-30 * time.Minute) // half of the time is over
	due := 0
	const n = 10_000
	for i := range n {
		if st.due(httptest.NewRequest("GET", "/", nil).RemoteAddr + string(rune('a'+i%26)) + time.Duration(i).String()) {
			due++
		}
	}
	if due < n*4/10 || due > n*6/10 {
		t.Errorf("after half of the time %d of %d are due", due, n)
	}
	for name, want := range map[time.Duration]time.Duration{-1: maxSpread, 20 * time.Second: 5 * time.Second, time.Hour: maxSpread} {
		var s spread
		if s.init(nil, name); s.over != want {
			t.Errorf("DrainTimeout %v: spread over %v, want %v", name, s.over, want)
		}
	}
}

// An HTTP/2 connection on which nothing happens is told by GOAWAY before DrainTimeout cuts it.
func TestIdleHTTP2GoesAway(t *testing.T) {
	ts := httptest.NewUnstartedServer(nil) // for its certificate
	ts.StartTLS()
	cert := ts.TLS.Certificates[0]
	ts.Close()
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		gen := newFake(ln)
		gen.drainTimeout = time.Minute
		s := &http.Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, Handler: http.HandlerFunc(echo)}
		r := start(gen, HTTPS(s, ln, "", ""))
		c := tls.Client(ln.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		// The preface, and empty SETTINGS.
		if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
			t.Fatal(err)
		}
		gen.supersede()
		gen.release()
		begun, goAway := time.Now(), time.Duration(-1)
		for {
			head := make([]byte, 9)
			if _, err := io.ReadFull(c, head); err != nil {
				break
			}
			if head[3] == 7 && goAway < 0 { // RFC 9113, section 6.8
				goAway = time.Since(begun)
			}
			if _, err := io.CopyN(io.Discard, c, int64(head[0])<<16|int64(head[1])<<8|int64(head[2])); err != nil {
				break
			}
		}
		if goAway < 0 || goAway >= time.Minute {
			t.Errorf("GOAWAY after %v", goAway)
		}
		_ = c.Close()
		<-r.done
		r.returned(t, nil)
	})
}
