//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/segue-go/segue/examples/internal/chain"
	"github.com/segue-go/segue/integration/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

// owner returns a function that asks who answers on a new connection; 0 is nobody.
func owner(addr string) func() int {
	cl := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return func() int {
		resp, err := cl.Get("http://" + addr + "/pid")
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return 0
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return pid
	}
}

// client is one session. It counts for itself, and compares.
type client struct {
	net.Conn
	r    *bufio.Reader
	rand *rand.Rand
	n    int // messages sent
	got  int // of them answered
	pid  atomic.Int64
	said atomic.Int64
	lost atomic.Bool
}

func dial(addr string, seed uint64) (*client, error) {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return &client{Conn: conn, r: bufio.NewReader(conn), rand: rand.New(rand.NewPCG(1, seed))}, nil
}

// message is a message in up to three frames, with a ping between them.
func (c *client) message() []byte {
	text := []byte(text(c.n + 1))
	c.n++
	var b bytes.Buffer
	op := ws.OpText
	for {
		part := text[:c.rand.IntN(len(text)+1)]
		if op == ws.OpContinuation {
			part = text
		}
		text = text[len(part):]
		f := ws.NewFrame(op, len(text) == 0, part)
		_ = ws.WriteFrame(&b, ws.MaskFrame(f)) // to memory
		if len(text) == 0 {
			return b.Bytes()
		}
		_ = ws.WriteFrame(&b, ws.MaskFrame(ws.NewPingFrame([]byte("?"))))
		op = ws.OpContinuation
	}
}

func text(n int) string { return fmt.Sprintf("message %d %s", n, strings.Repeat("x", n*37%300)) }

// handshake opens the session, with a part of the first message in the same packet.
func (c *client) handshake(addr string) error {
	b := fmt.Appendf(nil, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n", addr)
	m := c.message()
	n := c.rand.IntN(len(m) + 1)
	if _, err := c.Write(append(b, m[:n]...)); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("status %s", resp.Status)
	}
	if _, err := c.Write(m[n:]); err != nil {
		return err
	}
	return c.answer()
}

// frame reads one. What the server sends is not longer than what it was sent, but for the numbers.
func (c *client) frame() (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(c.r); err != nil {
		return f, err
	}
	if f.Header.Length > 1000 {
		return f, fmt.Errorf("a frame of %d bytes", f.Header.Length)
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(c.r, f.Payload)
	return f, err
}

// answer reads until the next answer, and checks it.
func (c *client) answer() error {
	for {
		f, err := c.frame()
		if err != nil {
			return err
		}
		switch f.Header.OpCode {
		case ws.OpPong:
			continue
		case ws.OpText:
		default:
			return fmt.Errorf("%v frame: %q", f.Header.OpCode, f.Payload)
		}
		number, rest, _ := strings.Cut(string(f.Payload), " ")
		pid, rest, _ := strings.Cut(rest, " ")
		c.got++
		if number != strconv.Itoa(c.got) || rest != text(c.got) {
			return fmt.Errorf("answer %d is %q", c.got, f.Payload)
		}
		n, err := strconv.Atoi(pid)
		c.pid.Store(int64(n))
		c.said.Store(int64(c.got))
		return err
	}
}

// talk sends some messages in pieces, with pauses, and reads the answers, until ctx ends.
func (c *client) talk(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return err
		}
		b := c.message()
		for range c.rand.IntN(3) {
			b = append(b, c.message()...)
		}
		for len(b) > 0 {
			piece := b[:1+c.rand.IntN(len(b))]
			b = b[len(piece):]
			if _, err := c.Write(piece); err != nil {
				return err
			}
			select {
			case <-time.After(time.Duration(c.rand.IntN(10)) * time.Millisecond):
			case <-ctx.Done():
			}
		}
		for c.got < c.n {
			if err := c.answer(); err != nil {
				return err
			}
		}
	}
	return nil
}

// leave ends the session as the protocol wants it.
func (c *client) leave() error {
	if err := ws.WriteFrame(c, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))); err != nil {
		return err
	}
	f, err := c.frame()
	if err == nil && f.Header.OpCode != ws.OpClose {
		err = fmt.Errorf("%v frame to a close frame", f.Header.OpCode)
	}
	return err
}

// TestUpgrades: sessions live through ten upgrades, on one connection each, and their numbers have no gap.
func TestUpgrades(t *testing.T) {
	c := chain.New(t, "-listen", "127.0.0.1:0", "-guard", "200ms")
	addr := c.Address()
	owned := owner(addr)
	pid := owned()

	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	clients := make([]*client, 12)
	for i := range clients {
		cl, err := dial(addr, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		clients[i] = cl
		wg.Go(func() {
			err := cl.handshake(addr)
			if err == nil {
				err = cl.talk(ctx)
			}
			if err == nil {
				err = cl.leave()
			}
			if err != nil {
				t.Errorf("client %d, after %d of %d answers: %v", i, cl.got, cl.n, err)
			}
		})
	}
	moved := func() { // everyone has a few answers from the process that owns
		for _, cl := range clients {
			c.Until("answer by the owner", func() bool { return t.Failed() || cl.pid.Load() == int64(pid) })
			want := cl.said.Load() + 5
			c.Until("5 answers", func() bool { return t.Failed() || cl.said.Load() >= want })
		}
	}
	moved()
	for i := range 10 {
		if i%2 == 0 {
			pid = c.Upgrade(pid, owned)
		} else {
			pid = c.TakeOver(owned)
		}
		moved()
	}
	stop()
	wg.Wait()
	c.Stop(pid)
}

// TestKilledSuccessor: sessions that a successor has taken end when it is killed; all others go on in the predecessor, and so
// do new ones, until the next successor takes them.
func TestKilledSuccessor(t *testing.T) {
	c := chain.New(t, "-listen", "127.0.0.1:0", "-guard", "20s")
	addr := c.Address()
	owned := owner(addr)
	first := owned()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	begin := func(seed int) *client {
		t.Helper()
		cl, err := dial(addr, uint64(seed))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cl.Close() })
		if err := cl.handshake(addr); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			err := cl.talk(ctx)
			if err == nil {
				err = cl.leave()
			}
			switch {
			case err == nil:
			case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
				errors.Is(err, syscall.EPIPE):
				cl.lost.Store(true)
			default:
				t.Errorf("client %d, after %d of %d answers: %v", seed, cl.got, cl.n, err)
			}
		})
		return cl
	}
	const rounds, each = 3, 8
	var there []*client
	// sift waits until all are answered, and returns those whose sessions have not ended.
	sift := func() (alive []*client) {
		t.Helper()
		for _, cl := range there {
			want := cl.said.Load() + 10 // more than can be on its way
			c.Until("10 answers", func() bool { return t.Failed() || cl.lost.Load() || cl.said.Load() >= want })
			if !cl.lost.Load() {
				alive = append(alive, cl)
			}
		}
		return alive
	}
	for i := range rounds {
		for n := range each {
			there = append(there, begin(i*each+n))
		}
		next := c.Upgrade(first, owned)
		if err := syscall.Kill(next, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		c.Until("revival", func() bool { return owned() == first })
		before := len(there)
		there = sift()
		t.Logf("%d of %d sessions ended with a successor", before-len(there), before)
		for _, cl := range there {
			if pid := cl.pid.Load(); pid != int64(first) && !t.Failed() {
				t.Errorf("a session is answered by %d, not %d", pid, first)
			}
		}
	}
	there = append(there, begin(rounds*each))
	pid := c.Upgrade(first, owned)
	for _, cl := range there {
		c.Until("answer by the last", func() bool { return t.Failed() || cl.lost.Load() || cl.pid.Load() == int64(pid) })
	}
	if n := len(there); len(sift()) < n {
		t.Error("a session ended although nobody was killed")
	}
	stop()
	wg.Wait()
	c.Stop(pid)
}

// TestStop: at a stop for good, and when there is nobody to give a session to, its client is told.
func TestStop(t *testing.T) {
	c := chain.New(t, "-listen", "127.0.0.1:0")
	addr := c.Address()
	pid := owner(addr)()
	cl, err := dial(addr, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.handshake(addr); err != nil {
		t.Fatal(err)
	}
	c.Stop(pid)
	_ = cl.SetDeadline(time.Now().Add(10 * time.Second))
	f, err := cl.frame()
	for err == nil && f.Header.OpCode == ws.OpPong {
		f, err = cl.frame()
	}
	if err != nil || f.Header.OpCode != ws.OpClose {
		t.Fatalf("%v, %v", f, err)
	}
	if code, _ := ws.ParseCloseFrameData(f.Payload); code != ws.StatusGoingAway {
		t.Errorf("closed with %d", code)
	}
}
