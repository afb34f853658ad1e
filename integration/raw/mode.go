package raw

import (
	"bytes"
	"net/http"
	"slices"
	"time"
)

// Mode is a way to ask.
type Mode string

// The modes. All pauses are random, and many of them end when something happens at the server.
const (
	Pipeline   Mode = "pipeline"    // 2 to 50 requests in one write
	Split      Mode = "split"       // byte by byte, with a pause at one of them
	FirstBytes Mode = "first-bytes" // one to five bytes of a request, then a pause, or an upgrade, then the rest
	Early      Mode = "early"       // the same with the first request of a connection; connects anew then
	Expect     Mode = "expect"      // Expect: 100-continue, and the body only after the 100
	Chunked    Mode = "chunked"     // a body in slow chunks
	Unread     Mode = "unread"      // a large body that the handler does not read
	SlowHeader Mode = "slow-header" // a header line by line
	CRLF       Mode = "crlf"        // an empty line after the body of a POST
	HalfClose  Mode = "half-close"  // half-closed after the request; connects anew then
	Mute       Mode = "mute"        // says nothing for several upgrades, then asks; connects anew then
	Rare       Mode = "rare"        // asks once in several upgrades
	HTTP10     Mode = "http10"      // HTTP/1.0 with keep-alive
	Head       Mode = "head"        // HEAD
	Instant    Mode = "instant"     // asks in the instant in which something happens
	Slow       Mode = "slow"        // asks for what takes its time
	Steady     Mode = "steady"      // asks again and again
)

// script makes one round of requests of a mode, all of them answered when it returns.
type script struct {
	mode Mode
	// round is called again and again. If fresh is set, each round has a connection of its own, which the last one leaves
	// for the end.
	round func(*client) error
	fresh bool
}

var scripts = []script{
	{mode: Pipeline, round: pipeline}, {mode: Split, round: split}, {mode: FirstBytes, round: firstBytes},
	{mode: Early, round: firstBytes, fresh: true},
	{mode: Expect, round: expect}, {mode: Chunked, round: chunked}, {mode: Unread, round: unread},
	{mode: SlowHeader, round: slowHeader}, {mode: CRLF, round: crlf}, {mode: HalfClose, round: halfClose, fresh: true},
	{mode: Mute, round: mute, fresh: true}, {mode: Rare, round: rare}, {mode: HTTP10, round: http10},
	{mode: Head, round: head}, {mode: Instant, round: instant}, {mode: Slow, round: slow}, {mode: Steady, round: steady},
}

// Modes returns all modes.
func Modes() []Mode {
	var all []Mode
	for _, s := range scripts {
		all = append(all, s.mode)
	}
	return all
}

func pipeline(c *client) error {
	var qs []*request
	var b []byte
	for range 2 + c.rng.IntN(49) {
		var q *request
		switch c.rng.IntN(8) {
		case 0:
			q = c.get(http.MethodHead, "/token?")
		case 1:
			q = c.upload(1 + c.rng.IntN(200))
		case 2:
			q = c.get(http.MethodGet, "/slow?ms=1&")
		default:
			q = c.get(http.MethodGet, "/token?")
		}
		qs, b = append(qs, q), append(b, q.bytes()...)
	}
	if c.rng.IntN(2) == 0 {
		c.moment()
	}
	for _, q := range qs {
		c.conn.begin(q)
	}
	// Sometimes in two writes, wherever that cuts.
	if cut := c.rng.IntN(2 * len(b)); cut < len(b) {
		if err := c.conn.write(b[:cut]); err != nil {
			return err
		}
		c.moment()
		b = b[cut:]
	}
	if err := c.conn.write(b); err != nil {
		return err
	}
	return c.conn.wait(qs...)
}

func split(c *client) error {
	q := c.get(http.MethodGet, "/token?")
	if c.rng.IntN(3) == 0 {
		q = c.upload(1 + c.rng.IntN(20))
	}
	b := q.bytes()
	c.conn.begin(q)
	pause := c.rng.IntN(len(b))
	for i := range b {
		if i == pause {
			c.moment()
		} else if c.rng.IntN(10) == 0 {
			c.nap(300 * time.Microsecond)
		}
		if err := c.conn.write(b[i : i+1]); err != nil {
			return err
		}
	}
	return c.conn.wait(q)
}

func firstBytes(c *client) error {
	q := c.get(http.MethodGet, "/token?")
	b, n := q.bytes(), 1+c.rng.IntN(5)
	c.conn.begin(q)
	if err := c.conn.write(b[:n]); err != nil {
		return err
	}
	if c.rng.IntN(3) == 0 {
		c.upgrades(1)
	} else {
		c.moment()
	}
	if err := c.conn.write(b[n:]); err != nil {
		return err
	}
	return c.conn.wait(q)
}

func expect(c *client) error {
	q := c.upload(1+c.rng.IntN(5000), "Expect: 100-continue")
	q.proceed = make(chan struct{})
	if c.rng.IntN(2) == 0 {
		c.moment()
	}
	c.conn.begin(q)
	if err := c.conn.write(q.head); err != nil {
		return err
	}
	if err := c.conn.await(q.proceed, q.token); err != nil {
		return err
	}
	if c.rng.IntN(2) == 0 {
		c.moment()
	}
	if err := c.conn.write(q.body); err != nil {
		return err
	}
	return c.conn.wait(q)
}

func chunked(c *client) error {
	q := c.uploadChunked(1 + c.rng.IntN(20_000))
	c.conn.begin(q)
	if err := c.conn.write(q.head); err != nil {
		return err
	}
	for piece := range slices.Chunk(q.body, 1+len(q.body)/5) {
		c.moment()
		if err := c.conn.write(piece); err != nil {
			return err
		}
	}
	return c.conn.wait(q)
}

func unread(c *client) error {
	// Larger ones net/http does not pass over: it closes the connection (maxPostHandlerReadBytes).
	q := c.post("/unread?", make([]byte, 1+c.rng.IntN(200<<10)), false)
	c.conn.begin(q)
	if err := c.conn.write(q.head); err != nil {
		return err
	}
	for piece := range slices.Chunk(q.body, 1+len(q.body)/3) {
		if c.rng.IntN(2) == 0 {
			c.moment()
		}
		if err := c.conn.write(piece); err != nil {
			return err
		}
	}
	return c.conn.wait(q)
}

func slowHeader(c *client) error {
	q := c.get(http.MethodGet, "/token?", "X-A: 1", "X-B: "+string(bytes.Repeat([]byte("b"), c.rng.IntN(6000))))
	c.conn.begin(q)
	for line := range bytes.Lines(q.head) {
		if c.rng.IntN(2) == 0 {
			c.moment()
		}
		if err := c.conn.write(line); err != nil {
			return err
		}
	}
	return c.conn.wait(q)
}

// crlf sends what old browsers did: an empty line after the body of a POST, which is none of the body and none of the
// next request. net/http allows it in no other place.
func crlf(c *client) error {
	q := c.upload(1 + c.rng.IntN(100))
	empty := []byte("\r\n")
	c.conn.begin(q)
	if c.rng.IntN(2) == 0 { // at once
		q.body = append(q.body, empty...)
		if err := c.conn.write(q.bytes()); err != nil {
			return err
		}
		if err := c.conn.wait(q); err != nil {
			return err
		}
	} else { // some time after the answer
		if err := c.conn.write(q.bytes()); err != nil {
			return err
		}
		if err := c.conn.wait(q); err != nil {
			return err
		}
		c.moment()
		for i := range empty { // one by one
			if err := c.conn.write(empty[i : i+1]); err != nil {
				return err
			}
			c.nap(time.Millisecond)
		}
	}
	if c.rng.IntN(4) == 0 {
		c.upgrades(1)
	} else {
		c.moment()
	}
	return c.ask(c.get(http.MethodGet, "/token?"))
}

func halfClose(c *client) error {
	var qs []*request
	var b []byte
	for range c.rng.IntN(3) {
		q := c.get(http.MethodGet, "/token?")
		qs, b = append(qs, q), append(b, q.bytes()...)
	}
	last := c.slow(c.rng.IntN(200))
	if c.rng.IntN(4) == 0 {
		last = c.upload(1 + c.rng.IntN(1000))
	}
	qs, b = append(qs, last), append(b, last.bytes()...)
	if c.rng.IntN(2) == 0 { // sometimes the connection has been idle, and may have moved
		c.moment()
	}
	for _, q := range qs {
		c.conn.begin(q)
	}
	if err := c.conn.write(b); err != nil {
		return err
	}
	if c.rng.IntN(2) == 0 {
		c.nap(20 * time.Millisecond)
	}
	if err := c.conn.halve(); err != nil {
		return err
	}
	if err := c.conn.wait(qs...); err != nil {
		return err
	}
	return c.conn.finished()
}

func mute(c *client) error {
	c.upgrades(1 + c.rng.IntN(4))
	if err := c.ask(c.get(http.MethodGet, "/token?")); err != nil {
		return err
	}
	c.moment()
	return c.ask(c.get(http.MethodGet, "/token?"))
}

func rare(c *client) error {
	if err := c.ask(c.get(http.MethodGet, "/token?")); err != nil {
		return err
	}
	c.upgrades(1 + c.rng.IntN(6))
	return nil
}

func http10(c *client) error {
	q := c.get(http.MethodGet, "/token?", "Connection: keep-alive")
	q.head = bytes.Replace(q.head, []byte("HTTP/1.1"), []byte("HTTP/1.0"), 1)
	c.moment()
	return c.ask(q)
}

func head(c *client) error {
	if c.rng.IntN(2) == 0 {
		c.moment()
	}
	return c.ask(c.get(http.MethodHead, "/token?"))
}

func instant(c *client) error {
	q := c.get(http.MethodGet, "/token?")
	c.instant()
	return c.ask(q)
}

func slow(c *client) error {
	return c.ask(c.slow(c.rng.IntN(400)))
}

func steady(c *client) error {
	c.nap(4 * time.Millisecond)
	return c.ask(c.get(http.MethodGet, "/token?"))
}
