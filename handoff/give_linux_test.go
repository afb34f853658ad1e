package handoff_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/segue-go/segue/handoff"
)

// pairOf is a connection of ln: the client's end, and the server's, accepted without a server.
func pairOf(t *testing.T, network string) (client, server net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = rendezvous(t)
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client = dial(t, ln.Addr())
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return client, server
}

// taker calls Take in a loop until that ends, and keeps what it took.
type taker struct {
	mu    sync.Mutex
	conns map[string]net.Conn // by state
	done  chan error
}

func taking(t *testing.T, g *handoff.Generation, name string) *taker {
	t.Helper()
	k := &taker{conns: map[string]net.Conn{}, done: make(chan error, 1)}
	ctx := bounded(t)
	go func() {
		for {
			c, state, err := g.Take(ctx, name)
			if err != nil {
				k.done <- err
				return
			}
			k.mu.Lock()
			if k.conns[string(state)] != nil {
				t.Errorf("%q came twice", state)
			}
			k.conns[string(state)] = c
			k.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, c := range k.conns {
			_ = c.Close()
		}
	})
	return k
}

func (k *taker) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.conns)
}

func (k *taker) get(state string) net.Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.conns[state]
}

// clients makes n connections, TCP and Unix in turn.
func clients(t *testing.T, n int) (clients, servers []net.Conn) {
	t.Helper()
	for i := range n {
		c, s := pairOf(t, []string{"tcp", "unix"}[i%2])
		clients, servers = append(clients, c), append(servers, s)
	}
	return clients, servers
}

// giving is a drain function that gives all conns under a name, with their places as state.
func giving(g *handoff.Generation, name string, conns []net.Conn) func(context.Context) error {
	return func(ctx context.Context) error {
		for i, c := range conns {
			if err := g.Give(ctx, name, c, fmt.Append(nil, i)); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestGive: connections and their states arrive, each once, and Wait returns only when all have.
func TestGive(t *testing.T) {
	const n = 600 // some batches
	path := rendezvous(t)
	a, _ := first(t, config(t, path))
	clients, servers := clients(t, n)
	ended := waiting(t, a, giving(a, "chat", servers))

	b := join(t, config(t, path))
	took := taking(t, b, "chat")
	ready(t, b)
	if err := result(t, "the end of Wait", ended); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all connections are there", func() bool { return took.count() == n })
	for i, c := range clients {
		talk(t, c, took.get(fmt.Sprint(i)))
	}
	shut(t, b)
	wantErr(t, "Take after the end", result(t, "the end of Take", took.done), io.EOF)
}

// TestGiveChain: what nobody takes goes on to the next generation, and what the oldest gives late goes through the middle.
func TestGiveChain(t *testing.T) {
	path := rendezvous(t)
	a, _ := first(t, config(t, path))
	clients, servers := clients(t, 40)
	late := make(chan struct{})
	ended := waiting(t, a, func(ctx context.Context) error {
		if err := giving(a, "chat", servers[:20])(ctx); err != nil {
			return err
		}
		select {
		case <-late:
		case <-ctx.Done():
			return ctx.Err()
		}
		for i, c := range servers[20:] {
			if err := a.Give(ctx, "chat", c, fmt.Append(nil, 20+i)); err != nil {
				return err
			}
		}
		return nil
	})
	b := join(t, config(t, path))
	ready(t, b)
	endedB := waiting(t, b, nil)
	c := join(t, config(t, path))
	took := taking(t, c, "chat")
	ready(t, c)
	eventually(t, "the first connections have come through", func() bool { return took.count() == 20 })
	pending(t, "the middle generation waits for the oldest", endedB)
	close(late)
	for _, w := range []<-chan error{ended, endedB} {
		if err := result(t, "the end of Wait", w); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all connections have come through", func() bool { return took.count() == 40 })
	for i, cl := range clients {
		talk(t, cl, took.get(fmt.Sprint(i)))
	}
}

// wrapped hides a connection, and shows it by NetConn.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

func TestGiveErrors(t *testing.T) {
	path := rendezvous(t)
	a, _ := first(t, config(t, path))
	_, plain := pairOf(t, "tcp")
	wantErr(t, "Give before a successor", a.Give(t.Context(), "x", plain, nil), handoff.ErrNoSuccessor)

	drained := make(chan struct{})
	ended := waiting(t, a, func(context.Context) error {
		defer close(drained)
		for _, tt := range []struct {
			what    string
			c       net.Conn
			name    string
			state   []byte
			wantErr error
		}{
			{"TLS", tls.Server(plain, &tls.Config{}), "x", nil, errors.ErrUnsupported},
			{"TLS inside", wrapped{tls.Server(plain, &tls.Config{})}, "x", nil, errors.ErrUnsupported},
			{"a pipe", func() net.Conn { c, _ := net.Pipe(); return c }(), "x", nil, errors.ErrUnsupported},
			{"no name", plain, "", nil, nil},
			{"too much state", plain, "x", make([]byte, 32<<10+1), nil},
		} {
			err := a.Give(t.Context(), tt.name, tt.c, tt.state)
			if err == nil || tt.wantErr != nil && !errors.Is(err, tt.wantErr) {
				t.Errorf("%s: got %v, want %v", tt.what, err, tt.wantErr)
			}
		}
		// The largest that is allowed, wrapped twice.
		if err := a.Give(t.Context(), "x", wrapped{wrapped{plain}}, make([]byte, 32<<10)); err != nil {
			t.Error(err)
		}
		return nil
	})
	b := join(t, config(t, path))
	ready(t, b)
	await(t, "drain", drained)
	c, state, err := b.Take(bounded(t), "x")
	if err != nil || len(state) != 32<<10 {
		t.Fatalf("Take: %v, %d bytes, %v", c, len(state), err)
	}
	_ = c.Close()
	if err := result(t, "the end of Wait", ended); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = b.Take(ctx, "x")
	wantErr(t, "Take with a context that has ended", err, context.Canceled)
}
