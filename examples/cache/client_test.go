package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// client has one connection, which is kept alive and never made anew.
type client struct {
	conn   net.Conn
	r      *bufio.Reader
	rand   *rand.Rand
	name   string
	phase  *atomic.Int64
	rounds atomic.Int64
	pid    atomic.Int64 // who answered last

	own    int            // how often it has counted by its own name
	shared []int          // what it was answered when it counted by the name that all use
	stored string         // what it has stored last
	grants map[string]int // how often it was allowed, by bucket
}

func dial(addr, name string, phase *atomic.Int64, seed uint64) (*client, error) {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, r: bufio.NewReader(conn), rand: rand.New(rand.NewPCG(1, seed)), name: name, phase: phase,
		grants: make(map[string]int)}, nil
}

// request is one request, and what is to be done with its answer.
type request struct {
	method, path, body string
	check              func(status int, body string) error
}

// ask sends requests, pipelined and cut anywhere, and checks their answers.
func (c *client) ask(rs ...request) error {
	var b []byte
	for _, r := range rs {
		b = fmt.Appendf(b, "%s %s HTTP/1.1\r\nHost: test\r\n", r.method, r.path)
		if r.method != http.MethodGet {
			b = fmt.Appendf(b, "Content-Length: %d\r\n", len(r.body))
		}
		b = append(b, "\r\n"+r.body...)
	}
	if err := c.conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if n := c.rand.IntN(2 * len(b)); n < len(b) {
		if _, err := c.conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
		c.nap()
	}
	if _, err := c.conn.Write(b); err != nil {
		return err
	}
	for _, r := range rs {
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if err := r.check(resp.StatusCode, strings.TrimSpace(string(body))); err != nil {
			return fmt.Errorf("%s %s: %d %.40q: %w", r.method, r.path, resp.StatusCode, body, err)
		}
		if resp.Close {
			return fmt.Errorf("%s %s: the answer says that the connection ends", r.method, r.path)
		}
		pid, err := strconv.Atoi(resp.Header.Get("X-Segue-Pid"))
		if err != nil {
			return err
		}
		c.pid.Store(int64(pid))
	}
	return nil
}

// nap is this client's slowness, not a wait for something.
func (c *client) nap() { time.Sleep(time.Duration(c.rand.IntN(5000)) * time.Microsecond) }

var errUnexpected = errors.New("not the answer that it should be")

// want makes a check for one answer; an empty body is not looked at.
func want(status int, body string) func(int, string) error {
	return func(s int, b string) error {
		if s != status || body != "" && b != body {
			return fmt.Errorf("%w, %d %.40q", errUnexpected, status, body)
		}
		return nil
	}
}

// some makes one request of those that the load consists of.
func (c *client) some() request {
	switch c.rand.IntN(6) {
	case 0, 1:
		c.own++
		return request{"POST", "/count/" + c.name, "", want(200, strconv.Itoa(c.own))}
	case 2:
		return request{"POST", "/count/shared", "", func(status int, body string) error {
			n, err := strconv.Atoi(body)
			c.shared = append(c.shared, n)
			return errors.Join(err, want(200, "")(status, ""))
		}}
	case 3:
		c.stored = fmt.Sprint(c.rand.Uint64())
		return request{"PUT", "/cache/" + c.name, c.stored, want(204, "")}
	case 4:
		if c.stored == "" {
			return request{"GET", "/cache/" + c.name, "", want(404, "")}
		}
		return request{"GET", "/cache/" + c.name, "", want(200, c.stored)}
	default:
		return c.allow(fmt.Sprintf("bucket%d", c.phase.Load()))
	}
}

// allow asks the rate limiter.
func (c *client) allow(bucket string) request {
	return request{"POST", "/allow/" + bucket, "", func(status int, _ string) error {
		switch status {
		case 200:
			c.grants[bucket]++
		case 429:
		default:
			return errUnexpected
		}
		return nil
	}}
}

// work asks until ctx ends. What was asked then is answered.
func (c *client) work(ctx context.Context) error {
	for ctx.Err() == nil {
		rs := make([]request, 1+c.rand.IntN(5))
		for i := range rs {
			rs[i] = c.some()
		}
		if err := c.ask(rs...); err != nil {
			return err
		}
		c.rounds.Add(1)
		c.nap()
	}
	return nil
}
