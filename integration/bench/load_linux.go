package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The load is made of plain system calls that block, so that it takes little of the two cores that it shares with the
// server.

// How much of an answer is read at once: of many megabytes, or next to none.
const (
	large = 256 << 10
	small = 1 << 10
)

// workers is how many connections are busy at once.
const workers = 8

// client is one worker's connection, or the way to get one.
type client struct {
	to  unix.SockaddrInet4
	fd  int // -1: none
	buf []byte
}

// newClient makes one that reads a piece of an answer at a time. The header is to fit into one.
func newClient(addr string, piece int) (*client, error) {
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	return &client{to: unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, fd: -1, buf: make([]byte, piece)}, nil
}

// dial leaves no TIME_WAIT behind when the connection is closed: ports are finite.
func (c *client) dial() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	c.fd = fd
	timeout := unix.NsecToTimeval(int64(patience))
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout),
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
	)
	if err == nil {
		err = again(func() error { return unix.Connect(fd, &c.to) })
	}
	if err != nil {
		c.hangUp()
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

func (c *client) hangUp() {
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
		c.fd = -1
	}
}

// accepted connects, and waits until the server has accepted and closed.
func (c *client) accepted() error {
	if err := c.dial(); err != nil {
		return err
	}
	defer c.hangUp()
	switch n, err := c.read(c.buf); {
	case err != nil:
		return err
	case n > 0:
		return fmt.Errorf("unexpected %q", c.buf[:n])
	}
	return nil
}

// answered makes a request on a connection of its own.
func (c *client) answered() error {
	if err := c.dial(); err != nil {
		return err
	}
	defer c.hangUp()
	return c.request([]byte("GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"))
}

// kept makes a request on a connection that it keeps.
func (c *client) kept() error { return c.get("/") }

func (c *client) get(path string) error {
	if c.fd < 0 {
		if err := c.dial(); err != nil {
			return err
		}
	}
	return c.request([]byte("GET " + path + " HTTP/1.1\r\nHost: bench\r\n\r\n"))
}

// request sends request and reads one whole answer.
func (c *client) request(request []byte) error {
	for len(request) > 0 { // a signal ends a write early
		var n int
		if err := again(func() (err error) { n, err = unix.Write(c.fd, request); return err }); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		request = request[n:]
	}
	have, want := 0, -1 // of the answer; want is unknown before the header has come
	for want < 0 || have < want {
		at := have
		if want >= 0 {
			at = 0 // the body is not looked at
		}
		n, err := c.read(c.buf[at:])
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("an answer ended after %d bytes: %w", have, io.ErrUnexpectedEOF)
		}
		have += n
		if want < 0 {
			if want, err = answerLen(c.buf[:have]); err != nil {
				return err
			}
		}
	}
	return nil
}

// answerLen returns how long the answer is that begins with b, or -1 if that is not to be seen yet.
func answerLen(b []byte) (int, error) {
	head, _, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return -1, nil
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("unexpected answer %q", head)
	}
	_, v, _ := bytes.Cut(head, []byte("\r\nContent-Length: "))
	v, _, _ = bytes.Cut(v, []byte("\r\n"))
	n, err := strconv.Atoi(string(v))
	if err != nil {
		return 0, fmt.Errorf("answer without a length: %q", head)
	}
	return len(head) + 4 + n, nil
}

func (c *client) read(b []byte) (n int, err error) {
	err = again(func() error { n, err = unix.Read(c.fd, b); return err })
	if err != nil {
		return 0, fmt.Errorf("read: %w", err)
	}
	return n, nil
}

// again calls f until no signal interrupts it.
func again(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// load calls step in n workers for a time, and returns how often it came back, and in which time.
func load(ctx context.Context, addr string, n int, d time.Duration, step func(*client) error) (steps float64, took time.Duration, err error) {
	// Each worker keeps a P while it blocks in the kernel: nobody has to notice that, and to take it away.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n + 2))
	var done atomic.Int64
	errs := make([]error, n)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range n {
		wg.Go(func() {
			c, err := newClient(addr, large)
			if err != nil {
				errs[i] = err
				return
			}
			defer c.hangUp()
			steps := 0
			for time.Since(began) < d && ctx.Err() == nil {
				if errs[i] = step(c); errs[i] != nil {
					break
				}
				steps++
			}
			done.Add(int64(steps))
		})
	}
	wg.Wait()
	took = time.Since(began)
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return 0, 0, fmt.Errorf("load on %s: %w", addr, err)
	}
	return float64(done.Load()), took, nil
}
