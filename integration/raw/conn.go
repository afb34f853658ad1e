package raw

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// maxAnswer bounds the body of an answer; those that are asked for are far smaller.
const maxAnswer = 64 << 10

// What may be wrong with an answer.
var (
	// ErrStatus is an answer whose status is not 200.
	ErrStatus = errors.New("status is not 200")
	// ErrForeign is an answer that is not that to the request whose turn it was: another's, out of order or damaged.
	ErrForeign = errors.New("not the answer to this request")
	// ErrUnasked is data that came without a request, such as a second answer.
	ErrUnasked = errors.New("data without a request")
	// ErrLeave is an answer after which the server will close the connection.
	ErrLeave = errors.New("the answer says that the connection ends")
	// ErrLate is an answer, or a 100 Continue, that has not come in time.
	ErrLate = errors.New("no answer in time")
)

// opError says at which step something failed.
type opError struct {
	op    string
	token string
	err   error
}

func (e *opError) Error() string { return e.op + ": " + e.err.Error() }
func (e *opError) Unwrap() error { return e.err }

// request is one request, which is sent once.
type request struct {
	token, method string
	head, body    []byte
	want          []string // what the body of the answer contains, beside the token
	proceed       chan struct{}
	done          chan struct{} // closed when it was answered rightly
	start, end    time.Time     // of sending, of the answer
	pid           int           // who answered; valid when done is closed, like end
}

// conn is a connection: one goroutine sends, and another one reads all the time, so that the connection's end is noticed
// when it comes.
type conn struct {
	nc      net.Conn
	timeout time.Duration
	dialed  time.Time
	over    chan struct{} // closed when nothing more is read

	mu       sync.Mutex
	asked    []*request // begun and not answered, in order
	answered int
	pid      int   // who answered last
	ending   bool  // the client has ended it, or its half of it
	err      error // why it is over; nil: because the client wanted it
}

// dial connects.
func dial(network, address string, timeout time.Duration) (*conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout) // the end of a run lets what was begun finish
	defer cancel()
	dialed := time.Now()
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, &opError{op: "connect", err: err}
	}
	c := &conn{nc: nc, timeout: timeout, dialed: dialed, over: make(chan struct{})}
	go c.read()
	return c, nil
}

// begin says that the first byte of a request is about to be sent.
func (c *conn) begin(q *request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q.start = time.Now()
	c.asked = append(c.asked, q)
}

// write sends some bytes.
func (c *conn) write(b []byte) error {
	err := c.nc.SetWriteDeadline(time.Now().Add(c.timeout))
	if err == nil {
		_, err = c.nc.Write(b)
	}
	if err == nil {
		return nil
	}
	// What the reader has found tells more than a broken pipe.
	c.end()
	<-c.over
	if c.err != nil {
		err = c.err
	}
	return &opError{"send", c.turn(), err}
}

// wait waits until requests are answered.
func (c *conn) wait(qs ...*request) error {
	for _, q := range qs {
		if err := c.await(q.done, q.token); err != nil {
			return err
		}
	}
	return nil
}

// await waits for what the reader closes.
func (c *conn) await(what <-chan struct{}, token string) error {
	t := time.NewTimer(c.timeout)
	defer t.Stop()
	select {
	case <-what:
		return nil
	case <-t.C:
		return &opError{"receive", token, ErrLate}
	case <-c.over:
	}
	select {
	case <-what: // it was the last
		return nil
	default:
	}
	if c.err == nil {
		return &opError{"receive", token, io.ErrUnexpectedEOF}
	}
	return c.broken()
}

// broken returns the error of a connection that is over, nil if that was the client's wish.
func (c *conn) broken() error {
	select {
	case <-c.over:
	default:
		return nil
	}
	if c.err == nil {
		return nil
	}
	token, op := c.turn(), "receive"
	if token == "" {
		op = "idle"
	}
	return &opError{op, token, c.err}
}

// turn returns the token of the request whose answer comes next.
func (c *conn) turn() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.asked) == 0 {
		return ""
	}
	return c.asked[0].token
}

// halve ends the client's half.
func (c *conn) halve() error {
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	err := c.nc.(interface{ CloseWrite() error }).CloseWrite()
	if err == nil {
		return nil
	}
	c.end()
	<-c.over
	if c.err != nil {
		err = c.err // it tells more than that the socket is not connected any more
	}
	return &opError{"half-close", c.turn(), err}
}

// finished waits until the server has closed a connection the client's half of which is closed.
func (c *conn) finished() error {
	t := time.NewTimer(c.timeout)
	defer t.Stop()
	select {
	case <-c.over:
		return c.broken()
	case <-t.C:
		return &opError{"half-close", "", fmt.Errorf("%w: the server does not close its half", ErrLate)}
	}
}

// end makes the reader's end no surprise, and brings it about soon.
func (c *conn) end() {
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	_ = c.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // for a last word that is already here
}

// close ends the connection and waits for its reader.
func (c *conn) close() {
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	_ = c.nc.Close()
	<-c.over
}

// read reads answers until the connection is over.
func (c *conn) read() {
	defer close(c.over)
	br := bufio.NewReader(c.nc)
	for {
		if _, err := br.Peek(1); err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			wished := errors.Is(err, io.EOF) && len(c.asked) == 0 || !errors.Is(err, io.EOF) && !reset(err)
			if !c.ending || !wished {
				c.err = err
			}
			return
		}
		if err := c.receive(br); err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.err = err
			return
		}
	}
}

// receive reads one answer, the first byte of which is here.
func (c *conn) receive(br *bufio.Reader) error {
	c.mu.Lock()
	if len(c.asked) == 0 {
		c.mu.Unlock()
		b, _ := br.Peek(br.Buffered())
		return fmt.Errorf("%w: %.120q", ErrUnasked, b)
	}
	q := c.asked[0]
	c.mu.Unlock()
	resp, err := http.ReadResponse(br, &http.Request{Method: q.method})
	if err != nil {
		return noEOF(err)
	}
	if resp.StatusCode == http.StatusContinue {
		if q.proceed == nil || closed(q.proceed) {
			return fmt.Errorf("%w: 100 Continue", ErrUnasked)
		}
		close(q.proceed)
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	_ = resp.Body.Close() // nothing but what was read
	if err != nil {
		return noEOF(err)
	}
	if err := q.check(resp, body); err != nil {
		return err
	}
	pid, _ := strconv.Atoi(resp.Header.Get("X-Segue-Pid")) // absent is 0
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = c.asked[1:]
	c.answered++
	c.pid = pid
	q.pid, q.end = pid, time.Now()
	close(q.done)
	return nil
}

// check finds out whether an answer is right.
func (q *request) check(resp *http.Response, body []byte) error {
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s: %.80q", ErrStatus, resp.Status, body)
	}
	if got := resp.Header.Get("X-Token"); got != q.token {
		return fmt.Errorf("%w: asked for %s, got that of %.80q", ErrForeign, q.token, got)
	}
	if q.method != http.MethodHead {
		for _, want := range append(q.want, q.token) {
			if !bytes.Contains(body, []byte(want)) {
				return fmt.Errorf("%w: asked for %s, %.80q is not in %.120q", ErrForeign, q.token, want, body)
			}
		}
	}
	if resp.Close {
		return fmt.Errorf("%w: %s", ErrLeave, q.token)
	}
	return nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// noEOF replaces io.EOF in the middle of something.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
