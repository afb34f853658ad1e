package raw

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"slices"
	"time"
)

// client is one client. It belongs to one goroutine.
type client struct {
	r    *Run
	s    script
	n    int
	rng  *rand.Rand
	seq  int
	conn *conn
	made []*request
}

// work plays rounds until the run ends, and then asks for the last time.
func (c *client) work() (err error) {
	for {
		if c.conn == nil {
			if c.conn, err = dial(c.r.o.Network, c.r.o.Address, c.r.o.Timeout); err != nil {
				return err
			}
			c.r.connected(c.s.mode)
		}
		if err := c.s.round(c); err != nil {
			return err
		}
		c.r.took(c)
		if c.r.ctx.Err() != nil {
			break
		}
		if c.s.fresh {
			c.conn.close()
			c.conn = nil
			continue
		}
		c.nap(3 * time.Millisecond)
		if err := c.conn.broken(); err != nil {
			return err
		}
	}
	if c.s.mode == HalfClose {
		return nil
	}
	return c.ask(c.get(http.MethodGet, "/token?"))
}

// ask sends a request as a whole and waits for its answer.
func (c *client) ask(q *request) error {
	c.conn.begin(q)
	if err := c.conn.write(q.bytes()); err != nil {
		return err
	}
	return c.conn.wait(q)
}

// moment waits until something happens at the server, at most Pace, and then often a little longer.
func (c *client) moment() {
	t := time.NewTimer(time.Duration(1 + c.rng.Int64N(int64(c.r.o.Pace))))
	defer t.Stop()
	select {
	case <-c.r.moments.next():
	case <-t.C:
	case <-c.conn.over:
	case <-c.r.ctx.Done():
	}
	if c.rng.IntN(3) > 0 {
		c.nap(3 * time.Millisecond)
	}
}

// instant waits until something happens at the server, or the run ends.
func (c *client) instant() {
	select {
	case <-c.r.moments.next():
	case <-c.conn.over:
	case <-c.r.ctx.Done():
	}
}

// upgrades waits until n upgrades have been completed, or the run ends.
func (c *client) upgrades(n int) {
	for range n {
		select {
		case <-c.r.complete.next():
		case <-c.conn.over:
			return
		case <-c.r.ctx.Done():
			return
		}
	}
}

// nap lets up to d pass.
func (c *client) nap(d time.Duration) {
	time.Sleep(time.Duration(c.rng.Int64N(int64(d)))) // the slowness of this client, not a wait for something
}

// make begins a request: target ends with ? or &.
func (c *client) make(method, target string, header ...string) *request {
	c.seq++
	// The random part is last and of fixed length, so no token is a part of another.
	token := fmt.Sprintf("%s-%d-%d-%016x", c.s.mode, c.n, c.seq, c.rng.Uint64())
	host := c.r.o.Address
	if c.r.o.Network == "unix" {
		host = "localhost"
	}
	b := fmt.Appendf(nil, "%s %stoken=%s HTTP/1.1\r\nHost: %s\r\n", method, target, token, host)
	for _, line := range header {
		b = append(b, line+"\r\n"...)
	}
	q := &request{token: token, method: method, head: append(b, "\r\n"...), done: make(chan struct{})}
	c.made = append(c.made, q)
	return q
}

func (c *client) get(method, target string, header ...string) *request {
	return c.make(method, target, header...)
}

func (c *client) slow(ms int) *request {
	return c.get(http.MethodGet, fmt.Sprintf("/slow?ms=%d&", ms))
}

func (c *client) post(target string, body []byte, chunked bool, header ...string) *request {
	header = append(header, "Content-Type: application/octet-stream")
	if chunked {
		header = append(header, "Transfer-Encoding: chunked")
	} else {
		header = append(header, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	q := c.make(http.MethodPost, target, header...)
	q.body = body
	return q
}

func (c *client) random(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(c.rng.Uint32())
	}
	return b
}

func digest(b []byte) []string {
	sum := sha256.Sum256(b)
	return []string{fmt.Sprintf("%d ", len(b)), hex.EncodeToString(sum[:])}
}

func (c *client) upload(size int, header ...string) *request {
	b := c.random(size)
	q := c.post("/upload?", b, false, header...)
	q.want = digest(b)
	return q
}

// uploadChunked makes a body in chunks of many sizes.
func (c *client) uploadChunked(size int) *request {
	b := c.random(size)
	q := c.post("/upload?", nil, true)
	q.want = digest(b)
	var body bytes.Buffer
	w := httputil.NewChunkedWriter(&body)
	for len(b) > 0 {
		n := min(len(b), 1+c.rng.IntN(3000))
		_, _ = w.Write(b[:n]) // to memory
		b = b[n:]
	}
	_ = w.Close()
	body.WriteString("\r\n")
	q.body = body.Bytes()
	return q
}

// bytes returns the request as it is sent.
func (q *request) bytes() []byte { return slices.Concat(q.head, q.body) }
