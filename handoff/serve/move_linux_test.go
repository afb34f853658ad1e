package serve

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// ledger counts how often each request was handled.
type ledger struct {
	mu    sync.Mutex
	count map[string]int
}

// ServeHTTP answers with what the request was, so that no answer can be mistaken for another.
func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Path
	l.mu.Lock()
	l.count[id]++
	l.mu.Unlock()
	n := int64(-1) // not read
	if !strings.Contains(id, "unread") {
		var err error
		if n, err = io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	if strings.Contains(id, "slow") {
		time.Sleep(time.Millisecond)
	}
	fmt.Fprintf(w, "%s %s %d", r.Method, id, n)
}

// caller is a client on one connection, which it keeps whatever happens.
type caller struct {
	name string
	c    net.Conn
	r    *bufio.Reader
	rnd  *rand.Rand
	n    int
	post bool // the last request was a POST
}

// request returns a random request, and what must be answered to it.
func (c *caller) request() (text, method, want string) {
	c.n++
	id := fmt.Sprintf("/%s/%d", c.name, c.n)
	slow := ""
	if c.rnd.IntN(30) == 0 {
		slow = "/slow"
	}
	size := c.rnd.IntN(3) * c.rnd.IntN(3000)
	body := strings.Repeat("GET / HTTP/1.1\r\n\r\n", 1+size/18)[:size] // looks like a request to who counts wrongly
	var lead string
	if c.post && c.rnd.IntN(2) == 0 {
		lead = "\r\n\r\n"[:1+c.rnd.IntN(4)]
	}
	c.post = false
	switch c.rnd.IntN(8) {
	default:
		id += slow
		return lead + "GET " + id + " HTTP/1.1\r\nHost: test\r\n\r\n", "GET", fmt.Sprintf("GET %s 0", id)
	case 0:
		id += slow
		return lead + "GET " + id + " HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET", fmt.Sprintf("GET %s 0", id)
	case 1:
		id += "/unread" + slow
		c.post = true
		return lead + fmt.Sprintf("POST %s HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s", id, size, body),
			"POST", fmt.Sprintf("POST %s -1", id)
	case 2:
		id += slow
		c.post = true
		return lead + fmt.Sprintf("POST %s HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s", id, size, body),
			"POST", fmt.Sprintf("POST %s %d", id, size)
	case 3:
		id += slow
		var b strings.Builder
		for rest := body; rest != ""; {
			k := 1 + c.rnd.IntN(len(rest))
			fmt.Fprintf(&b, "%x\r\n%s\r\n", k, rest[:k])
			rest = rest[k:]
		}
		return lead + fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n", id, b.String()),
			"PUT", fmt.Sprintf("PUT %s %d", id, size)
	}
}

// write sends text at once, or in pieces, with or without time between them.
func (c *caller) write(text string) error {
	for text != "" {
		k := len(text)
		switch c.rnd.IntN(4) {
		case 0:
			k = 1 + c.rnd.IntN(k)
		case 1:
			k = min(k, 1+c.rnd.IntN(40))
		}
		if _, err := io.WriteString(c.c, text[:k]); err != nil {
			return err
		}
		text = text[k:]
		switch {
		case text == "":
		case c.rnd.IntN(40) == 0:
			time.Sleep(time.Duration(c.rnd.IntN(400)) * time.Microsecond)
		case c.rnd.IntN(2) == 0:
			runtime.Gosched()
		}
	}
	return nil
}

func (c *caller) read(method, want string) error {
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return fmt.Errorf("%s: %w", want, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", want, err)
	}
	if string(b) != want || resp.StatusCode != http.StatusOK || resp.Close {
		return fmt.Errorf("%s: answer %d %q, close: %t", want, resp.StatusCode, b, resp.Close)
	}
	return nil
}

// round is a number of requests in a pipeline and their answers, and after it perhaps a bit of the next one.
func (c *caller) round() error {
	if c.rnd.IntN(10) == 0 {
		return c.expect()
	}
	var all strings.Builder
	var methods, wants []string
	for range 1 + c.rnd.IntN(2)*c.rnd.IntN(5) {
		text, method, want := c.request()
		all.WriteString(text)
		methods, wants = append(methods, method), append(wants, want)
	}
	sent := make(chan error, 1)
	go func() { sent <- c.write(all.String()) }()
	for i := range wants {
		if err := c.read(methods[i], wants[i]); err != nil {
			return err
		}
	}
	return <-sent
}

// expect sends a body only when it is asked for.
func (c *caller) expect() error {
	c.n++
	id := fmt.Sprintf("/%s/%d", c.name, c.n)
	if err := c.write("PUT " + id + " HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"); err != nil {
		return err
	}
	line, err := c.r.ReadString('\n')
	if err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		return fmt.Errorf("%s: %q, %w", id, line, err)
	}
	if _, err := c.r.ReadString('\n'); err != nil {
		return err
	}
	if err := c.write("12345"); err != nil {
		return err
	}
	c.post = false
	return c.read("PUT", fmt.Sprintf("PUT %s 5", id))
}

// last sends one more request and nothing after it.
func (c *caller) last() error {
	c.n++
	id := fmt.Sprintf("/%s/%d", c.name, c.n)
	if err := c.write("GET " + id + " HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil {
		return err
	}
	if err := c.c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	if err := c.read("GET", "GET "+id+" 0"); err != nil {
		return err
	}
	if b, err := c.r.ReadByte(); err != io.EOF {
		return fmt.Errorf("after the last answer: %q, %w", b, err)
	}
	return nil
}

// Whatever clients do on connections that move all the time, each request is answered once, in its turn.
func TestMovesUnderLoad(t *testing.T) {
	for _, tt := range []struct {
		name, network string
		nodes         int
		holds         bool
	}{
		{"tcp", "tcp", 2, false},
		{"unix", "unix", 2, false},
		{"ring", "tcp", 3, false},
		{"held", "tcp", 3, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := 1500 * time.Millisecond
			if s := os.Getenv("SEGUE_MOVES"); s != "" {
				var err error
				if d, err = time.ParseDuration(s); err != nil {
					t.Fatal(err)
				}
			}
			moveUnderLoad(t, tt.network, tt.nodes, tt.holds, d)
		})
	}
}

func moveUnderLoad(t *testing.T, network string, size int, holds bool, d time.Duration) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	books := &ledger{count: make(map[string]int)}
	parked := newPark(t)
	parked.record = true
	nodes := make([]*node, size)
	for i := range nodes {
		nodes[i] = newNode(t, network, &http.Server{Handler: books}, holds)
	}
	stop := make(chan struct{})
	var callers, movers sync.WaitGroup
	for i := range nodes {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		var mu sync.Mutex
		keep := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return rnd.IntN(8) == 0
		}
		movers.Go(func() {
			shuttle(nodes[i], &ferry{t: t, to: nodes[(i+1)%size], keep: keep, park: parked}, uint64(i), seed, stop)
		})
	}
	end := time.Now().Add(d)
	asked := make([]int, 64)
	for i := range asked {
		c := nodes[i%size].dial()
		callers.Go(func() {
			cl := &caller{name: fmt.Sprint(i), c: c, r: bufio.NewReader(c), rnd: rand.New(rand.NewPCG(seed, 100+uint64(i)))}
			for time.Now().Before(end) {
				if err := cl.round(); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
			}
			if err := cl.last(); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
			asked[i] = cl.n
		})
	}
	callers.Wait()
	close(stop)
	movers.Wait()
	total := 0
	for i, n := range asked {
		total += n
		for k := 1; k <= n; k++ {
			books.once(t, fmt.Sprintf("/%d/%d", i, k))
		}
	}
	begun := 0
	for _, state := range parked.states {
		if p, err := decodePosition([]byte(state)); err != nil {
			t.Error(err)
		} else if p.begun && len(p.ahead) >= peekSize {
			begun++
		}
	}
	moves, kept := parked.moves.Load(), parked.kept.Load()
	t.Logf("%d requests, %d moves, %d of them in the midst of a header, %d kept", total, moves, begun, kept)
	if moves < int64(len(asked)) || begun == 0 || kept == 0 {
		t.Error("that is too little to show anything")
	}
}

// shuttle lets n's connections depart, again and again.
func shuttle(n *node, f *ferry, i, seed uint64, stop <-chan struct{}) {
	rnd := rand.New(rand.NewPCG(seed, 200+i))
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rnd.IntN(500)) * time.Microsecond):
		}
		n.Depart(f)
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Microsecond)
		n.Stay()
	}
}

// once checks that the request with this id was handled once.
func (l *ledger) once(t *testing.T, id string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, suffix := range []string{"", "/slow", "/unread", "/unread/slow"} {
		n += l.count[id+suffix]
	}
	if n != 1 {
		t.Errorf("request %s was handled %d times", id, n)
	}
}
