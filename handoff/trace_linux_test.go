package handoff_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/listener"
)

// traced is what a Trace was told, in turn.
type traced struct {
	mu    sync.Mutex
	calls []string
	conns map[string]syscall.Conn
}

func (r *traced) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, fmt.Sprintf(format, args...))
}

func (r *traced) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

func (r *traced) trace() *handoff.Trace {
	r.conns = map[string]syscall.Conn{}
	return &handoff.Trace{
		Opened: func(s handoff.SocketStatus, c syscall.Conn) {
			r.add("opened %s %s %v", s.Kind, s.Name, s.Inherited)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.conns[s.Name] = c
		},
		Closed:   func(s handoff.SocketStatus) { r.add("closed %s", s.Name) },
		Released: func(p handoff.Peer) { r.add("released %v", p.PID != 0) },
	}
}

// TestTraceSockets: who is told of sockets hears of each that comes and of each that goes, can duplicate it meanwhile, and is
// told that the generation cannot be revived before anybody who waits for that.
func TestTraceSockets(t *testing.T) {
	ctx := bounded(t)
	path := rendezvous(t)
	var one, two traced
	c := config(t, path)
	c.Trace = one.trace()
	a := join(t, c)
	for _, name := range []string{"kept", "closed", "unasked"} {
		ln, err := a.ListenAs(ctx, name, "tcp", "127.0.0.1:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		if name == "closed" {
			fd, err := listener.Dup(one.conns[name])
			if err != nil {
				t.Error(err)
			}
			_ = fd.Close()
			_ = ln.Close()
		}
	}
	if _, err := a.ListenPacketAs(ctx, "packets", "udp", "127.0.0.1:0", nil); err != nil {
		t.Fatal(err)
	}
	if err := a.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	c.Trace = two.trace()
	b := join(t, c)
	kept, err := b.ListenAs(ctx, "kept", "tcp", "127.0.0.1:0", nil)
	if err == nil {
		_, err = b.ListenPacketAs(ctx, "packets", "udp", "127.0.0.1:0", nil)
	}
	if err == nil {
		err = b.Ready(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.Released():
	case <-ctx.Done():
		t.Fatal("the guard does not end")
	}
	want := []string{"opened listener kept false", "opened listener closed false", "closed closed", "opened listener unasked false",
		"opened packet packets false", "closed unasked", "released true"}
	if got := one.list(); !slices.Equal(got, want) {
		t.Errorf("the first was told %q, want %q", got, want)
	}
	_ = kept.Close()
	want = []string{"opened listener kept true", "opened packet packets true", "closed kept"}
	if got := two.list(); !slices.Equal(got, want) {
		t.Errorf("the second was told %q, want %q", got, want)
	}
	wait(t, a, nil)
}

// wait waits for the end of a generation that drains.
func wait(t *testing.T, g *handoff.Generation, drain func(context.Context) error) {
	t.Helper()
	if err := g.Wait(bounded(t), drain); err != nil {
		t.Error(err)
	}
}
