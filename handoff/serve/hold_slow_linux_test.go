package serve

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client that does not send the rest of a body in which no handler has an interest, or does not read the answer, keeps
// nobody waiting. Its next request comes when the hold is over.
func TestHoldSlowClient(t *testing.T) {
	const answer = 2 << 10 // the handler does not wait until it is sent
	for _, c := range []struct {
		name, requests, rest string
		stands               func(*tracked) bool
		answers              int
	}{
		{"sends no body", "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\nxx", strings.Repeat("x", 99_998),
			(*tracked).discards, 1},
		{"reads no answer", strings.Repeat("GET / HTTP/1.1\r\nHost: test\r\n\r\n", 10_000), "",
			func(c *tracked) bool { return !c.inRead && c.stand.phase == active }, 10_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, "tcp", &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, strings.Repeat("a", answer))
			})}, true)
			client := newClient(t, n.dial())
			written := make(chan error, 1)
			go func() {
				_, err := io.WriteString(client, c.requests)
				written <- err
			}()
			conn := n.tracked()
			// It stands there for good: nothing happens while one looks a hundred times.
			for quiet := 0; quiet < 100; time.Sleep(time.Millisecond) {
				conn.mu.Lock()
				ok := c.stands(conn)
				conn.mu.Unlock()
				if quiet++; !ok || n.holder().gate.begun(&conn.scope, true) > 0 {
					quiet = 0
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if err := n.holder().Hold(ctx, false); err != nil {
				t.Fatal(err)
			}
			n.holder().Resume()
			go func() { _, _ = fmt.Fprintf(client, c.rest+get, "/last") }()
			for range c.answers + 1 {
				resp, err := http.ReadResponse(client.r, nil)
				if err != nil {
					t.Fatal(err)
				}
				if k, err := io.Copy(io.Discard, resp.Body); err != nil || k != answer {
					t.Fatalf("an answer of %d bytes, %v", k, err)
				}
			}
			if err := <-written; err != nil {
				t.Error(err)
			}
		})
	}
}

// Who asks several requests at once is between two of them at some looks, but not with the same one at two looks. A header is
// waited for.
func TestHoldPipelining(t *testing.T) {
	st := newHTTPState(&http.Server{})
	c := &tracked{stand: stand{phase: active}}
	busy := []*tracked{c}
	var done map[*tracked]uint32
	for range 10 {
		c.requests++
		if done = st.unread(busy, done); c.apart {
			t.Fatal("set apart, although it is answered again and again")
		}
	}
	if st.unread(busy, done); !c.apart {
		t.Error("not set apart, although nothing happens")
	}
	c = &tracked{stand: stand{phase: idle}} // in the midst of a header that is not recorded
	busy = []*tracked{c}
	if st.unread(busy, st.unread(busy, nil)); c.apart {
		t.Error("set apart, although it is about to ask")
	}
}
