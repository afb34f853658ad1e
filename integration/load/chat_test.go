package load_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/integration/load"
)

// chatServer is a chat that may do wrong to what is said.
type chatServer struct {
	ln    net.Listener
	spoil func(n int, line string, to int) []string // what the user gets; n counts the lines, to says whose turn it is

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	order []net.Conn
	said  int
	done  sync.WaitGroup
}

func newChatServer(t *testing.T, spoil func(n int, line string, to int) []string) *chatServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &chatServer{ln: ln, spoil: spoil, conns: map[net.Conn]struct{}{}}
	s.done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.done.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		s.drop()
		s.done.Wait()
	})
	return s
}

// drop ends all connections.
func (s *chatServer) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

func (s *chatServer) serve(c net.Conn) {
	defer c.Close()
	_, _ = fmt.Fprintln(c, "* process 7 serves you; log in")
	name := ""
	for lines := bufio.NewScanner(c); lines.Scan(); {
		s.mu.Lock()
		if name == "" {
			name = strings.TrimPrefix(lines.Text(), "NICK ")
			s.conns[c] = struct{}{}
			s.order = append(s.order, c)
			s.all(fmt.Sprintf("* %s is here", name))
		} else {
			s.said++
			s.all(name + ": " + lines.Text())
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *chatServer) all(line string) {
	for i, c := range s.order {
		get := []string{line}
		if s.spoil != nil && !strings.HasPrefix(line, "*") {
			get = s.spoil(s.said, line, i)
		}
		for _, l := range get {
			_, _ = fmt.Fprintln(c, l)
		}
	}
}

// startChat chats until some lines were received.
func startChat(t *testing.T, s *chatServer) *load.Chat {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	c, err := load.StartChat(ctx, load.ChatOptions{
		Address: s.ln.Addr().String(), Users: 4, Pace: time.Millisecond, Timeout: 2 * time.Second, Seed: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	until(ctx, t, func() bool { return c.Counts().Received > 400 })
	return c
}

func until(ctx context.Context, t *testing.T, f func() bool) {
	t.Helper()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v", patience)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestChat(t *testing.T) {
	only := func(at int, get func(line string) []string) func(int, string, int) []string {
		return func(n int, line string, to int) []string {
			if n == at && to == 1 {
				return get(line)
			}
			return []string{line}
		}
	}
	for _, tt := range []struct {
		name  string
		spoil func(int, string, int) []string
		want  load.ChatCounts
		err   error
	}{
		{name: "good"},
		{"lost", only(60, func(string) []string { return nil }), load.ChatCounts{Lost: 1}, load.ErrLost},
		{"doubled", only(60, func(l string) []string { return []string{l, l} }), load.ChatCounts{Doubled: 1}, load.ErrDoubled},
		{"cut", only(60, func(l string) []string { return []string{l, l + "x"} }), load.ChatCounts{Wrong: 1}, load.ErrForeign},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := startChat(t, newChatServer(t, tt.spoil))
			c.Stop()
			r := c.Wait()
			if got := (load.ChatCounts{Lost: r.Lost, Doubled: r.Doubled, Wrong: r.Wrong, Dropped: r.Dropped, Refused: r.Refused}); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if len(r.Served) != 4 || r.Served[0].PID != 7 || r.Moves != 0 {
				t.Errorf("4 users were served by %+v, with %d moves", r.Served, r.Moves)
			}
			if err := r.Err(); !errors.Is(err, tt.err) {
				t.Errorf("got error %v, want %v", err, tt.err)
			}
			if r.Lost == 0 && r.Doubled == 0 && r.Wrong == 0 && r.Sent < 100 {
				t.Errorf("%d lines were said", r.Sent)
			}
		})
	}
}

// TestChatTail: what is missing at the end is lost too.
func TestChatTail(t *testing.T) {
	c := startChat(t, newChatServer(t, func(n int, line string, to int) []string {
		if n > 60 && to == 2 {
			return nil
		}
		return []string{line}
	}))
	c.Stop()
	r := c.Wait()
	if r.Lost == 0 || !errors.Is(r.Err(), load.ErrLost) {
		t.Errorf("%d lines were lost: %v", r.Lost, r.Err())
	}
}

func TestChatReconnects(t *testing.T) {
	s := newChatServer(t, nil)
	c := startChat(t, s)
	s.drop()
	was := c.Counts().Received
	until(t.Context(), t, func() bool { return c.Counts().Reconnects == 4 && c.Present() == 4 && c.Counts().Received > was+200 })
	if n := c.Counts(); n.Dropped != 4 || n.Refused != 0 {
		t.Errorf("%d connections ended and %d logins failed, want 4 and 0", n.Dropped, n.Refused)
	}
	if n := c.Excuse(func(f load.Failure) bool { return f.Dropped() }); n != 4 {
		t.Errorf("%d ends were excused", n)
	}
	c.Stop()
	r := c.Wait()
	if err := r.Err(); err != nil || r.Excused != 4 || r.Dropped != 0 || r.Reconnects != 4 || len(r.Pardoned) != 4 {
		t.Errorf("%v, %+v", err, r.ChatCounts)
	}
}

// TestChatRefused: a user who cannot log in has lost nothing, and does not come again.
func TestChatRefused(t *testing.T) {
	s := newChatServer(t, nil)
	c := startChat(t, s)
	_ = s.ln.Close()
	s.drop()
	until(t.Context(), t, func() bool { return c.Counts().Dropped == 4 && c.Counts().Refused > 8 })
	if n := c.Excuse(func(f load.Failure) bool { return errors.Is(f, syscall.ECONNREFUSED) }); n <= 8 {
		t.Errorf("%d failed logins were excused", n)
	}
	c.Stop()
	r := c.Wait()
	if err := r.Err(); err == nil || r.Dropped != 4 || r.Reconnects != 0 {
		t.Errorf("%v, %+v", err, r.ChatCounts)
	}
}

func TestChatOptions(t *testing.T) {
	for _, o := range []load.ChatOptions{{}, {Address: "x"}, {Address: "x", Users: 1, Pace: -1}} {
		if c, err := load.StartChat(t.Context(), o); err == nil {
			c.Stop()
			c.Wait()
			t.Errorf("%+v is accepted", o)
		}
	}
}
