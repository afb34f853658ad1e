package handoff_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/hook"
	"github.com/segue-go/segue/listener"
)

// traced is what an observer was told, in turn.
type traced struct {
	mu    sync.Mutex
	calls []string
	conns []syscall.Conn
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

func (r *traced) source() []handoff.Source {
	return []handoff.Source{&observer{
		opened:   func(s hook.Socket) { r.add("opened %s %d", s.Name, r.number(s)) },
		closed:   func(s hook.Socket) { r.add("closed %s %d", s.Name, r.number(s)) },
		released: func(s hook.Successor) { r.add("released %v %v", s.PID != 0, s.Foreign) },
	}}
}

// number says which of the sockets it was told of this is.
func (r *traced) number(s hook.Socket) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.conns, s.Conn)
	if i < 0 {
		i, r.conns = len(r.conns), append(r.conns, s.Conn)
	}
	return i
}

// observer is a Source that has nothing, and is told.
type observer struct {
	handoff.BaseSource
	opened, closed func(hook.Socket)
	keeps          func(hook.Socket) bool
	released       func(hook.Successor)
	failed         func(error)
}

var _ hook.Observer = (*observer)(nil)

func (o *observer) Open(context.Context, string, string, string) (*listener.FD, error) {
	return nil, nil
}

func (o *observer) Opened(s hook.Socket) {
	if o.opened != nil {
		o.opened(s)
	}
}

func (o *observer) Closed(s hook.Socket) {
	if o.closed != nil {
		o.closed(s)
	}
}

func (o *observer) Keeps(s hook.Socket) bool { return o.keeps != nil && o.keeps(s) }

func (o *observer) Released(s hook.Successor) {
	if o.released != nil {
		o.released(s)
	}
}

func (o *observer) Failed(err error) {
	if o.failed != nil {
		o.failed(err)
	}
}

// TestObserver: who is told of sockets hears of each that comes and of each that goes, can duplicate it meanwhile, and is
// told that the generation cannot be revived before anybody who waits for that.
func TestObserver(t *testing.T) {
	ctx := bounded(t)
	path := rendezvous(t)
	var one, two traced
	c := config(t, path)
	c.Sources = one.source()
	a := join(t, c)
	for _, name := range []string{"kept", "closed", "unasked"} {
		ln, err := a.ListenAs(ctx, name, "tcp", "127.0.0.1:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		if name == "closed" {
			fd, err := listener.Dup(one.conns[1])
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
	c.Sources = two.source()
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
	want := []string{"opened kept 0", "opened closed 1", "closed closed 1", "opened unasked 2",
		"opened packets 3", "closed unasked 2", "released true false"}
	if got := one.list(); !slices.Equal(got, want) {
		t.Errorf("the first was told %q, want %q", got, want)
	}
	_ = kept.Close()
	want = []string{"opened kept 0", "opened packets 1", "closed kept 0"}
	if got := two.list(); !slices.Equal(got, want) {
		t.Errorf("the second was told %q, want %q", got, want)
	}
	wait(t, a, nil)
}

// phases is an observer that is told of phases as well.
type phases struct {
	observer
	to func(handoff.Phase)
}

func (p *phases) Phase(_, to handoff.Phase) { p.to(to) }

// TestObserverClosedInGuard: a generation that is closed in its guard tells who has taken over, and only then that it stops.
func TestObserverClosedInGuard(t *testing.T) {
	for name, set := range map[string]func(*handoff.Config){
		"guard":     func(*handoff.Config) {},
		"probation": func(c *handoff.Config) { c.Probation = time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := bounded(t)
			c := config(t, rendezvous(t))
			c.Guard = time.Hour
			var told traced
			c.Sources = []handoff.Source{&phases{
				observer: observer{released: func(s hook.Successor) { told.add("released %v", s.PID != 0) }},
				to:       func(to handoff.Phase) { told.add("%s", to) },
			}}
			a := join(t, c)
			if err := a.Ready(ctx); err != nil {
				t.Fatal(err)
			}
			c.Sources = nil
			set(&c)
			b := join(t, c)
			if err := b.Ready(ctx); err != nil {
				t.Fatal(err)
			}
			want := handoff.PhaseDraining
			if name == "probation" {
				want = handoff.PhaseGuarding
			}
			eventually(t, string(want), func() bool { return a.Status().Phase == want })
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			got := told.list()
			released, stopped := slices.Index(got, "released true"), slices.Index(got, "stopped")
			if released < 0 || stopped < released {
				t.Errorf("told %q, want the successor and then the end", got)
			}
		})
	}
}

// wait waits for the end of a generation that drains.
func wait(t *testing.T, g *handoff.Generation, drain func(context.Context) error) {
	t.Helper()
	if err := g.Wait(bounded(t), drain); err != nil {
		t.Error(err)
	}
}
