package serve

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// teller answers with its name, what it was asked, and what it got.
type teller struct {
	name  string
	count atomic.Int64
	hold  chan struct{} // if not nil: each request waits for that
}

func (s *teller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.count.Add(1)
	if s.hold != nil {
		<-s.hold
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s %s %d", s.name, r.URL.Path, len(b))
}

// told reads an answer of one of two tellers, and returns which.
func told(r *bufio.Reader, method, path string, size int) (name string, err error) {
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	name, rest, _ := strings.Cut(string(b), " ")
	if err == nil && (rest != fmt.Sprintf("%s %d", path, size) || resp.StatusCode != http.StatusOK || resp.Close) {
		err = fmt.Errorf("answer %d %q, close: %t, want %s %d", resp.StatusCode, b, resp.Close, path, size)
	}
	return name, err
}

// A client that has always requests queued is served by the successor after what the incumbent has in its buffer.
func TestPipelineMoves(t *testing.T) {
	const body = "one\r\ntwo\n\r\n\r\nthree"
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n" }
	for _, tt := range []struct {
		name, method, head, tail string
		read                     int // of the body
	}{
		{"get", "GET", "", "", 0},
		{"length", "POST", fmt.Sprintf("Content-Length: %d\r\n", len(body)), body, len(body)},
		{"one byte", "POST", "Content-Length: 1\r\n", "\n", 1},
		{"chunked", "PUT", "Transfer-Encoding: chunked\r\n", fmt.Sprintf("3\r\nabc\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body), 3 + len(body)},
		{"trailer", "PUT", "Transfer-Encoding: chunked\r\nTrailer: T\r\n", "3\r\nabc\r\n0\r\nT: 1\r\n\r\n", 3},
		{"lenient", "POST", "Content-Length: 3\r\n", "abc\r\n", 3}, // see numLeadingCRorLF in net/http
	} {
		for _, size := range []int{100, 101, 200, 333} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, size), func(t *testing.T) {
				n := 300_000 / size
				var all strings.Builder
				for i := range n {
					head := fmt.Sprintf("%s /%d HTTP/1.1\r\nHost: a\r\n%s", tt.method, i, tt.head)
					pad := size - len(head) - len("P: \r\n\r\n") - len(tt.tail)
					fmt.Fprintf(&all, "%sP: %s\r\n\r\n%s", head, strings.Repeat("x", max(pad, 0)), tt.tail)
				}
				from, to := &teller{name: "from", hold: make(chan struct{})}, &teller{name: "to"}
				a, b := newNode(t, "tcp", &http.Server{Handler: from}, false), newNode(t, "tcp", &http.Server{Handler: to}, false)
				park := newPark(t)
				c := a.dial()
				sent := make(chan error, 1)
				go func() {
					_, err := io.WriteString(c, all.String()+get("/last"))
					sent <- err
				}()
				await(t, "the first request", func() bool { return from.count.Load() == 1 })
				a.Depart(&ferry{t: t, to: b, park: park})
				close(from.hold)
				r := bufio.NewReader(c)
				for i := range n {
					if _, err := told(r, tt.method, fmt.Sprintf("/%d", i), tt.read); err != nil {
						t.Fatalf("request %d: %v", i, err)
					}
				}
				if name, err := told(r, "GET", "/last", 0); err != nil || name != "to" {
					t.Errorf("last request: answered by %q, %v", name, err)
				}
				if err := <-sent; err != nil {
					t.Error(err)
				}
				if got, most := from.count.Load(), int64(bufferSize/size+4); got > most {
					t.Errorf("%d of %d requests were answered by the incumbent, want at most %d", got, n, most)
				}
			})
		}
	}
}

// only returns the connection of n that there is, when net/http has read this many bytes of a header from it and wants
// more.
func (n *node) only(read int) (c *tracked) {
	n.t.Helper()
	await(n.t, fmt.Sprintf("a read after %d bytes", read), func() bool {
		all := n.Server.(*tracker).all()
		if len(all) != 1 {
			return false
		}
		c = all[0]
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.inRead && c.stand.phase != active && len(c.record.buf) == read
	})
	return c
}

// A connection moves wherever a client stops in a header, with the time that is left to complete it.
func TestBegunHeaderMoves(t *testing.T) {
	const request = "POST /begun HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n"
	for _, before := range []int{0, 1, 2, 20} { // requests, which come together with that piece if they are more than one
		kept, together := before > 0, before > 1
		for _, n := range []int{0, 1, 3, 4, 10, 30, len(request) - 2} {
			t.Run(fmt.Sprintf("%d/after=%d", n, before), func(t *testing.T) {
				from, to := &teller{name: "from"}, &teller{name: "to"}
				a, b := newNode(t, "tcp", &http.Server{Handler: from, ReadHeaderTimeout: time.Hour}, false),
					newNode(t, "tcp", &http.Server{Handler: to}, false)
				park := newPark(t)
				c := a.dial()
				r := bufio.NewReader(c)
				write := func(s string) {
					if _, err := io.WriteString(c, s); err != nil {
						t.Fatal(err)
					}
				}
				first := strings.Repeat("GET / HTTP/1.1\r\nHost: test\r\n\r\n", before)
				if together {
					first += request[:n]
				}
				write(first)
				for range before {
					if _, err := told(r, "GET", "/", 0); err != nil {
						t.Fatal(err)
					}
				}
				if !together {
					write(request[:n])
				}
				old := a.only(n)
				old.mu.Lock()
				limit := old.deadline
				old.mu.Unlock()
				a.Depart(&ferry{t: t, to: b, park: park})
				await(t, "a move", func() bool { return park.parked.Load() == 1 })
				write(request[n : len(request)-1])
				after := b.only(len(request) - 1)
				after.mu.Lock()
				if begun := !kept || n >= peekSize; begun && !after.deadline.Equal(limit) {
					t.Errorf("the header must be complete at %v, was %v before", after.deadline, limit)
				}
				after.mu.Unlock()
				write("\n12345")
				if name, err := told(r, "POST", "/begun", 5); err != nil || name != "to" {
					t.Errorf("answered by %q, %v", name, err)
				}
			})
		}
	}
}

// The first byte of a request is not yet its beginning: ReadTimeout counts from the fourth, also after a move.
func TestReadTimeoutAfterMove(t *testing.T) {
	const limit = time.Hour
	to := &teller{name: "to", hold: make(chan struct{})}
	a := newNode(t, "tcp", &http.Server{Handler: &teller{name: "from"}}, false)
	b := newNode(t, "tcp", &http.Server{Handler: to, ReadTimeout: limit, ReadHeaderTimeout: time.Minute}, false)
	park := newPark(t)
	c := a.dial()
	r := bufio.NewReader(c)
	write := func(s string) {
		if _, err := io.WriteString(c, s); err != nil {
			t.Fatal(err)
		}
	}
	write("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
	if _, err := told(r, "GET", "/", 0); err != nil {
		t.Fatal(err)
	}
	a.Depart(&ferry{t: t, to: b, park: park})
	// Before it has moved, a may read the byte, and then it waits for the next one where it is parked.
	await(t, "a move", func() bool { return park.parked.Load() == 1 })
	write("P")
	var moved *tracked
	await(t, "the first byte's arrival", func() bool {
		for _, moved = range b.Server.(*tracker).all() {
			moved.mu.Lock()
			defer moved.mu.Unlock()
			return moved.arrival != nil && len(moved.arrival.ahead) == 1
		}
		return false
	})
	fourth := time.Now()
	write("OST /late HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n")
	await(t, "the request", func() bool { return to.count.Load() == 1 })
	moved.mu.Lock()
	if least := fourth.Add(limit); moved.deadline.Before(least) {
		t.Errorf("the body must be complete at %v, %v too early", moved.deadline, least.Sub(moved.deadline))
	}
	moved.mu.Unlock()
	close(to.hold)
	write("12345")
	if name, err := told(r, "POST", "/late", 5); err != nil || name != "to" {
		t.Errorf("answered by %q, %v", name, err)
	}
}
