package integration

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
)

// roleLines answers each line with its process id, how many lines the connection has said so far, and the line. When it is
// superseded it gives its connections to the successor, with that number and the line that has begun.
func roleLines(c conf, e *emitter) int {
	ctx, stop := operator(c)
	defer stop()
	p, code := begin(ctx, c, e)
	if p == nil {
		return code
	}
	defer p.end()
	network, address, _ := strings.Cut(c.Listen[0], "/")
	ln, err := p.gen.Listen(ctx, network, address)
	if err != nil {
		e.result("listen", err)
		return 1
	}
	s := &liner{gen: p.gen, conns: map[net.Conn]bool{}}
	p.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(c, nil) })
		}
	})
	p.wg.Go(func() {
		for {
			c, state, err := p.gen.Take(context.Background(), "lines")
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				e.result("take", err)
				continue
			}
			s.wg.Go(func() { s.serve(c, state) })
		}
	})
	err = p.gen.Ready(ctx)
	e.result("ready", err)
	if err != nil {
		return 1
	}
	err = p.gen.Wait(ctx, s.drain)
	e.result("wait", err)
	if err != nil && ctx.Err() == nil {
		return 1
	}
	_ = p.gen.Close() // closes what nobody has taken
	s.end()
	return 0
}

// liner are the connections of roleLines.
type liner struct {
	gen *handoff.Generation
	wg  sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool // whether it is to leave when all do
	leaving bool
	ended   bool
	changed chan struct{} // closed when there are fewer of them
}

// serve answers lines until the connection ends or is given away.
func (s *liner) serve(c net.Conn, state []byte) {
	n := 0
	var rest []byte
	if state != nil {
		number, begun, _ := bytes.Cut(state, []byte(" "))
		_, _ = fmt.Sscan(string(number), &n)
		rest = begun
	}
	s.add(c, true)
	for buf := make([]byte, 4096); ; {
		for {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				break
			}
			n++
			// An error shows in the next read as well.
			_, _ = fmt.Fprintf(c, "%d %d %s\n", os.Getpid(), n, rest[:i])
			rest = rest[i+1:]
		}
		k, err := c.Read(buf)
		rest = append(rest, buf[:k]...)
		switch {
		case err == nil || bytes.IndexByte(rest, '\n') >= 0:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			s.remove(c)
			_ = c.Close()
			return
		default:
			s.remove(c) // before: it may come back at once
			if s.gen.Give(context.Background(), "lines", c, fmt.Appendf(nil, "%d %s", n, rest)) == nil {
				return
			}
			s.add(c, false) // nobody takes it
		}
	}
}

func (s *liner) add(c net.Conn, leaves bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = leaves
	switch {
	case s.ended:
		_ = c.Close()
	case s.leaving && leaves:
		_ = c.SetReadDeadline(time.Unix(1, 0))
	default:
		_ = c.SetReadDeadline(time.Time{}) // else the next read says it
	}
}

func (s *liner) remove(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// drain gives all connections away. If the generation is revived they stay.
func (s *liner) drain(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
	defer func() { s.leaving = false }()
	for {
		for c, leaves := range s.conns {
			if leaves {
				_ = c.SetReadDeadline(time.Unix(1, 0))
			}
		}
		if len(s.conns) == 0 {
			return nil
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if ctx.Err() != nil {
			for c := range s.conns {
				s.conns[c] = true
				_ = c.SetReadDeadline(time.Time{})
			}
			return ctx.Err()
		}
	}
}

// end closes what is left.
func (s *liner) end() {
	s.mu.Lock()
	s.ended = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// talker is a user of roleLines, on one connection.
type talker struct {
	c   net.Conn
	br  *bufio.Reader
	n   int
	pid int // who answered last
}

func (w *world) talker() (*talker, error) {
	c, err := net.Dial(w.network(), w.addr)
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return &talker{c: c, br: bufio.NewReader(c)}, nil
}

// say says a line, in two pieces if there is a pause, and checks that the answer counts it once.
func (k *talker) say(pause func()) error {
	k.n++
	line := fmt.Sprintf("line %d of %s\n", k.n, k.c.LocalAddr())
	if err := k.c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if pause != nil {
		if _, err := io.WriteString(k.c, line[:7]); err != nil {
			return err
		}
		pause()
		line = line[7:]
	}
	if _, err := io.WriteString(k.c, line); err != nil {
		return err
	}
	got, err := k.br.ReadString('\n')
	if err != nil {
		return err
	}
	pid, rest, _ := strings.Cut(got, " ")
	if want := fmt.Sprintf("%d line %d of %s\n", k.n, k.n, k.c.LocalAddr()); rest != want {
		return fmt.Errorf("said line %d, got %q, want %q", k.n, rest, want)
	}
	_, err = fmt.Sscan(pid, &k.pid)
	return err
}

// chat lets n users say lines until the function that it returns is called, which waits for them. A user whose connection
// breaks fails the test.
func (w *world) chat(n int) (said *atomic.Int64, stop func()) {
	w.t.Helper()
	seed := rand.Uint64() >> 32
	w.t.Logf("seed %d", seed)
	quit, said := make(chan struct{}), new(atomic.Int64)
	var wg sync.WaitGroup
	for i := range n {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		nap := func() { time.Sleep(time.Duration(rng.Int64N(int64(30 * time.Millisecond)))) } // the slowness of this user
		wg.Go(func() {
			k, err := w.talker()
			for err == nil {
				pause := nap
				if rng.IntN(2) == 0 {
					nap()
					pause = nil
				}
				err = k.say(pause)
				said.Add(1)
				select {
				case <-quit:
					return
				default:
				}
			}
			w.t.Errorf("user %d: line %d: %v", i, k.n, err)
		})
	}
	stop = sync.OnceFunc(func() { close(quit); wg.Wait() })
	w.t.Cleanup(stop)
	return said, stop
}

// TestGiven: a program gives its connections to the next one ten times, those that talk and those that are silent, with
// what it knows of them.
func TestGiven(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "lines")
			if network == "unix" {
				w.addr = w.dir + "/lines"
				w.conf.Listen = []string{"unix/" + w.addr}
			}
			w.conf.DrainTimeout = time.Minute
			p := w.serving("lines")
			var silent []*talker
			for range 300 {
				k, err := w.talker()
				if err == nil {
					err = k.say(nil)
				}
				if err != nil {
					t.Fatal(err)
				}
				silent = append(silent, k)
			}
			said, stop := w.chat(30)
			var old []*proc
			for i := range 10 {
				want := said.Load() + 100
				for deadline := time.Now().Add(patience); said.Load() < want && time.Now().Before(deadline); {
					time.Sleep(time.Millisecond) // users cannot be waited for
				}
				old = append(old, p)
				p = w.take(ways[i%2], p, "lines")
			}
			for _, o := range old {
				w.ended(o)
			}
			stop()
			for i, k := range silent {
				if err := k.say(nil); err != nil || k.pid != p.pid {
					t.Errorf("silent user %d: answered by %d, %v; want %d", i, k.pid, err, p.pid)
				}
			}
		})
	}
}

// TestGivenToOneThatDies: what a successor had not acknowledged is the program's again, which goes on with it.
func TestGivenToOneThatDies(t *testing.T) {
	const n = 800
	for i, fault := range []string{"kill received conns", "kill sent taken#2", "kill received conns#3", "stop received conns#2"} {
		t.Run(strings.ReplaceAll(fault, " ", "_"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "lines")
			w.conf.Traced, w.conf.DrainTimeout, w.conf.Guard = true, time.Minute, time.Minute
			stop := strings.HasPrefix(fault, "stop")
			if stop { // it is found out when the guard would end
				w.conf.Guard, w.conf.StepTimeout = 300*time.Millisecond, 400*time.Millisecond
			}
			a := w.serving("lines")
			var users []*talker
			for range n {
				k, err := w.talker()
				if err == nil {
					err = k.say(nil)
				}
				if err != nil {
					t.Fatal(err)
				}
				users = append(users, k)
			}
			w.conf.Fault = fault
			mark := w.mark()
			b := w.succeed(ways[i%2], a, "lines")
			w.conf.Fault = ""
			w.wait(mark, b.pid, "fault", "")
			w.ended(b)
			w.wait(mark, a.pid, "log", "this generation serves again")
			gone := 0
			for i, k := range users {
				switch err := k.say(nil); {
				case dropped(err):
					gone++
				case err != nil || k.pid != a.pid:
					t.Errorf("user %d: answered by %d, %v; want %d", i, k.pid, err, a.pid)
				}
			}
			taken := w.count(mark, of(a.pid, "received", "taken")) - 1 // without that of the offer
			t.Logf("%d of %d users are gone, %d batches acknowledged", gone, n, taken)
			if gone > taken*maxBatch || gone < taken {
				t.Errorf("%d users are gone with the successor, which had acknowledged %d batches", gone, taken)
			}
			w.signal(a, unix.SIGTERM)
			w.ended(a)
		})
	}
}
