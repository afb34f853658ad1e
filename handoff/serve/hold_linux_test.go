package serve

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// hold holds n in one round, and fails if that does not end by itself: in the first round only who is slow is given up,
// never because time is up.
func (n *node) hold() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Second)
	defer cancel()
	if err := n.holder().AwaitBegun(ctx); err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(n.t.Context(), 30*time.Second)
	defer cancel()
	if err := n.holder().Hold(ctx, false); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) holder() *httpState { return n.run.gen.holder.(*httpState) }

// tracked returns the only connection there is.
func (n *node) tracked() *tracked {
	n.t.Helper()
	var c *tracked
	await(n.t, "a connection", func() bool {
		all := n.holder().trackers[0].all()
		if len(all) == 1 {
			c = all[0]
		}
		return c != nil
	})
	return c
}

// silent waits until net/http reads the rest of a header, and there is nothing, after it has been given what ends with last.
// While it answers the request before, it reads in vain too.
func (n *node) silent(last string) *tracked {
	n.t.Helper()
	c := n.tracked()
	await(n.t, "a read in vain", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.starved && c.stand.inHeader() && strings.HasSuffix(string(c.stand.last[:]), last)
	})
	return c
}

// A connection in the midst of a header is not waited for: it is held where it is if what it has said is recorded;
// otherwise its request waits.
func TestHoldSlowHeader(t *testing.T) {
	const first = "POST /one HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n1" // only net/http knows its end
	const rest = "ST /two HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"
	for _, c := range []struct {
		name  string
		head  string
		ahead bool // it came with the end of the request before
		apart bool
		gone  bool // the state has moved
	}{
		{"recorded", "PO", false, false, false},
		{"recorded, gone", "PO", false, false, true},
		{"not recorded", "PO", true, true, false},
		{"not recorded, gone", "PO", true, true, true},
		{"too long", "PO", false, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var calls atomic.Int32
			n := newNode(t, "tcp", &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				echo(w, r)
			})}, true)
			client := newClient(t, n.dial())
			head := c.head
			switch {
			case c.name == "too long":
				head, c.head = "POST /two HTTP/1.1\r\nX: "+strings.Repeat("x", maxRecord)+"yz", "yz"
				client.get("/one", false)
				fallthrough
			case !c.ahead:
				_, _ = io.WriteString(client, head)
			default:
				// More than net/http waits for before it looks at any of it.
				c.head, head = "OST", "POST"
				_, _ = io.WriteString(client, first+head)
				client.receive()
			}
			second := "PO" + rest
			tail := strings.TrimPrefix(second, head)
			if c.name == "too long" {
				tail = "\r\nHost: test\r\nContent-Length: 0\r\n\r\n"
			}
			conn := n.silent(c.head)
			before := calls.Load()
			n.hold()
			conn.mu.Lock()
			if conn.apart != c.apart {
				t.Errorf("apart: %t, want %t", conn.apart, c.apart)
			}
			conn.mu.Unlock()
			_, _ = io.WriteString(client, tail)
			if c.apart {
				await(t, "a request at the gate", func() bool {
					n.holder().gate.mu.Lock()
					defer n.holder().gate.mu.Unlock()
					return n.holder().gate.changed != nil
				})
			}
			if calls.Load() != before {
				t.Error("a request has begun")
			}
			if c.gone {
				n.holder().Gone()
				n.Depart(nil)
			} else {
				n.holder().Resume()
			}
			resp, err := http.ReadResponse(client.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			want := http.StatusOK
			if c.gone {
				want = http.StatusServiceUnavailable
			}
			if resp.StatusCode != want || resp.Close != c.gone {
				t.Errorf("got %v", resp)
			}
		})
	}
}

// What net/http has read of a request when a hold begins it answers, and the connection is held afterwards; also if
// that was more than one request.
func TestHoldPipelined(t *testing.T) {
	goOn := make(chan struct{})
	var calls atomic.Int32
	n := newNode(t, "tcp", &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			<-goOn
		}
		echo(w, r)
	})}, true)
	client := newClient(t, n.dial())
	_, _ = fmt.Fprintf(client, get+get, "/one", "/two")
	await(t, "a request", func() bool { return calls.Load() == 1 })
	held := make(chan error)
	go func() { held <- n.holder().Hold(t.Context(), false) }()
	await(t, "a hold", func() bool { return n.holder().trackers[0].mode().holding() })
	close(goOn)
	client.receive()
	client.receive()
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintf(client, get, "/three")
	if calls.Load() != 2 {
		t.Errorf("%d requests have begun, want 2", calls.Load())
	}
	n.holder().Resume()
	if body, closes := client.receive(); body != "/three" || closes {
		t.Errorf("got %q, close %t", body, closes)
	}
}

// A client that has always one more request does not keep a hold from its end.
func TestHoldFlood(t *testing.T) {
	n := newNode(t, "tcp", &http.Server{Handler: http.HandlerFunc(echo)}, true)
	client := newClient(t, n.dial())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for many := strings.Repeat("GET /x HTTP/1.1\r\nHost: test\r\nX: xxxxxxx\r\n\r\n", 100); ; {
			if _, err := io.WriteString(client, many); err != nil {
				return
			}
		}
	}()
	go func() { _, _ = io.Copy(io.Discard, client) }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := n.holder().Hold(ctx, true); err != nil {
		t.Error(err)
	}
	n.holder().Resume()
	_ = client.Close()
	<-stopped
}

// A connection that is held does not notice a revival. If it does not move, its request finds that the state has moved.
func TestHoldTracked(t *testing.T) {
	n := newNode(t, "tcp", &http.Server{Handler: http.HandlerFunc(echo)}, true)
	client := newClient(t, n.dial())
	client.get("/one", false)
	n.silent("\r\n\r\n"[1:])
	n.hold()
	_, _ = fmt.Fprintf(client, get, "/two")
	n.holder().Gone()
	n.holder().Resume()
	if body, closes := client.receive(); body != "/two" || closes {
		t.Errorf("got %q, close %t", body, closes)
	}
	n.silent("\r\n\r\n"[1:])
	n.hold()
	_, _ = fmt.Fprintf(client, get, "/three")
	n.holder().Gone()
	n.Depart(nil)
	if resp, err := http.ReadResponse(client.r, nil); err == nil {
		t.Errorf("got %v, want no answer", resp)
	}
}
