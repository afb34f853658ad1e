package handoff_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/segue-go/segue/handoff"
)

// counter numbers the lines of each client, as long as it stays connected.
type counter struct {
	name  string
	gen   *handoff.Generation
	tasks sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond
	leaving bool
	conns   map[net.Conn]bool // those that have a session
}

// run serves until this generation has ended.
func (s *counter) run(ctx context.Context, ln net.Listener) error {
	s.tasks.Go(func() {
		for {
			c, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err != nil {
				time.Sleep(100 * time.Millisecond) // out of descriptors, for example
				continue
			}
			s.begin(ctx, c, 0, nil)
		}
	})
	s.tasks.Go(func() {
		for {
			c, state, err := s.gen.Take(ctx, "counter")
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				return
			} else if err != nil {
				time.Sleep(100 * time.Millisecond)
				continue
			}
			count, rest, _ := bytes.Cut(state, []byte(" "))
			s.begin(ctx, c, orExit(strconv.Atoi(string(count))), rest)
		}
	})
	err := s.gen.Wait(ctx, s.drain)
	_ = s.gen.Close()
	s.tasks.Wait()
	return err
}

// drain has all sessions give their connections away.
func (s *counter) drain(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
	defer func() { s.leaving = false }() // there may be a revival, and another drain
	for c := range s.conns {
		_ = c.SetReadDeadline(time.Now()) // wakes its session
	}
	defer context.AfterFunc(ctx, func() { // at the end of DrainTimeout, or at a revival
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})()
	for len(s.conns) > 0 && ctx.Err() == nil {
		s.changed.Wait()
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		for c := range s.conns { // nobody could take it, and its client has not left
			_ = c.Close()
		}
	}
	return ctx.Err()
}

// begin starts the session of c, whose client has sent so many lines, and rest, which is no line yet.
func (s *counter) begin(ctx context.Context, c net.Conn, count int, rest []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = true
	if s.leaving { // accepted in the instant of the switch
		_ = c.SetReadDeadline(time.Now())
	}
	s.tasks.Go(func() {
		if !s.session(ctx, c, count, rest) {
			_ = c.Close()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
		s.changed.Broadcast()
	})
}

// session reports whether c is somebody else's at its end.
func (s *counter) session(ctx context.Context, c net.Conn, count int, rest []byte) (given bool) {
	in := bufio.NewReader(io.MultiReader(bytes.NewReader(rest), c))
	for {
		line, err := in.ReadString('\n')
		switch {
		case err == nil:
			count++
			fmt.Fprintf(c, "%s: %q is line %d\n", s.name, line, count)
		case errors.Is(err, os.ErrDeadlineExceeded): // by drain. What was read of the next line travels along
			if s.gen.Give(ctx, "counter", c, fmt.Appendf(nil, "%d %s", count, line)) == nil {
				return true
			}
			// Nobody takes it, or this generation was revived meanwhile: the session goes on.
			in.Reset(io.MultiReader(bytes.NewReader([]byte(line)), c))
		default:
			return false
		}
	}
}

// A server of a protocol of its own, whose clients stay connected. A client that has sent half a line when the successor
// takes over gets the answer to the whole from there.
func ExampleGeneration_Give() {
	ctx, next, done := exampleChain(50 * time.Millisecond)
	defer done()
	start := func(name string) (addr string, ended chan error) {
		s := &counter{name: name, gen: next(), conns: map[net.Conn]bool{}}
		s.changed.L = &s.mu
		ln := orExit(s.gen.Listen(ctx, "tcp", "127.0.0.1:0"))
		okay(s.gen.Ready(ctx))
		ended = make(chan error, 1)
		go func() { ended <- s.run(ctx, ln) }()
		return ln.Addr().String(), ended
	}
	addr, first := start("first")
	client := orExit(net.Dial("tcp", addr))
	in := bufio.NewReader(client)
	fmt.Fprint(client, "one\ntw")
	fmt.Print(orExit(in.ReadString('\n')))

	_, second := start("second")
	fmt.Println("the first ended:", <-first)
	fmt.Fprint(client, "o\n")
	fmt.Print(orExit(in.ReadString('\n')))

	_ = client.Close()
	done() // as on SIGTERM
	fmt.Println("the second was stopped:", errors.Is(<-second, net.ErrClosed))
	// Output:
	// first: "one\n" is line 1
	// the first ended: <nil>
	// second: "two\n" is line 2
	// the second was stopped: true
}

// account is a connection with what its program knows of it. Give finds the connection inside.
type account struct {
	net.Conn
	user string
}

func (a account) NetConn() net.Conn { return a.Conn }

// The successor takes what was given until there is nothing more to come.
func ExampleGeneration_Take() {
	ctx, next, done := exampleChain(50 * time.Millisecond)
	defer done()
	first := next()
	ln := orExit(first.Listen(ctx, "tcp", "127.0.0.1:0"))
	okay(first.Ready(ctx))
	client := orExit(net.Dial("tcp", ln.Addr().String()))
	defer client.Close()
	user := account{orExit(ln.Accept()), "alice"}

	fmt.Println("too early:", errors.Is(first.Give(ctx, "users", user, nil), handoff.ErrNoSuccessor))
	second := next()
	orExit(second.Listen(ctx, "tcp", "127.0.0.1:0"))
	okay(second.Ready(ctx))
	okay(first.Wait(ctx, func(ctx context.Context) error {
		return first.Give(ctx, "users", user, []byte(user.user))
	}))

	c, state, err := second.Take(ctx, "users")
	okay(err)
	fmt.Printf("%s is %t\n", state, c.RemoteAddr().String() == client.LocalAddr().String())
	okay(c.Close())
	okay(second.Close())
	_, _, err = second.Take(ctx, "users")
	fmt.Println(err)
	// Output:
	// too early: true
	// alice is true
	// EOF
}
