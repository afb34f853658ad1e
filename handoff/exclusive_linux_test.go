package handoff_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
)

// thing is something that only one process may have.
type thing struct {
	mu    sync.Mutex
	owner *handoff.Generation
}

// taken is called by who owns.
func (x *thing) taken(t *testing.T, g *handoff.Generation) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.owner != nil && x.owner != g {
		t.Error("two have it")
	}
	x.owner = g
}

func (x *thing) of() *handoff.Generation {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.owner
}

// section is registered in a generation that is to have x.
func (x *thing) section(t *testing.T, g *handoff.Generation) handoff.Section {
	return handoff.Section{Hold: func(context.Context) (func(), error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.owner == g {
			x.owner = nil
		}
		return func() { x.taken(t, g) }, nil
	}}
}

// with is a generation that is to have x, and is not ready yet.
func (x *thing) with(t *testing.T, c handoff.Config) *handoff.Generation {
	t.Helper()
	g := join(t, c)
	listen(t, g, "tcp", "127.0.0.1:0")
	state(t, g, "thing", x.section(t, g))
	return g
}

// TestExclusive: what only one process may have is let go of before anybody else owns, and taken back in a revival, whether
// or not the successor knows of it, and whether or not state moves too.
func TestExclusive(t *testing.T) {
	for _, exact := range []bool{false, true} {
		for _, end := range []string{"revival", "check fails", "for good", "incumbent closed"} {
			name := end
			if exact {
				name += ", with state"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var x thing
				c := config(t, rendezvous(t))
				c.Guard = time.Minute
				make := func(c handoff.Config) *handoff.Generation {
					g := x.with(t, c)
					if exact {
						s := newCell("1").exact()
						s.Revival, s.Probation = handoff.RevivalKeep, true
						state(t, g, "cell", s)
					}
					return g
				}
				a := make(c)
				ready(t, a)
				x.taken(t, a)
				cb := c
				if end == "check fails" {
					cb.Check = func(context.Context) error { return errUnwell }
				}
				b := make(cb)
				if end == "incumbent closed" { // b is its heir
					shut(t, a)
					ready(t, b)
					x.taken(t, b)
					return
				}
				ready(t, b)
				switch x.of() {
				case a:
					t.Fatal("the successor owns, and the incumbent has not let go")
				case nil:
					x.taken(t, b)
				}
				switch end {
				case "revival":
					superseded(t, a)
					if err := b.Fail(errUnwell); err != nil {
						t.Fatal(err)
					}
					fallthrough
				case "check fails":
					awaitPhase(t, a, handoff.PhaseServing)
					eventually(t, "who gets the sockets back has it", func() bool { return x.of() == a })
				case "for good":
					shut(t, b)
					if x.of() != nil {
						t.Error("closed, and not let go")
					}
				}
			})
		}
	}
}

// TestExclusiveAfterFailure: an attempt that fails after it was let go of gives it back.
func TestExclusiveAfterFailure(t *testing.T) {
	var x thing
	c := config(t, rendezvous(t))
	a := x.with(t, c)
	was, is := newCell("1"), newCell("")
	is.fail = map[string]error{"restore": errNoSpace}
	state(t, a, "cell", was.exact())
	ready(t, a)
	x.taken(t, a)
	b, _ := nextWith(t, c, is.exact())
	wantErr(t, "Ready", b.Ready(bounded(t)), errNoSpace)
	eventually(t, "the incumbent has it again", func() bool { return x.of() == a })
}

// TestExclusiveNotLetGo: if Hold fails or takes too long, the attempt fails, and nothing has happened.
func TestExclusiveNotLetGo(t *testing.T) {
	for name, tt := range map[string]struct {
		hold func(ctx context.Context) (func(), error)
		want error
	}{
		"error": {func(context.Context) (func(), error) { return nil, errNoSpace }, errNoSpace},
		"slow":  {func(ctx context.Context) (func(), error) { <-ctx.Done(); return nil, ctx.Err() }, context.DeadlineExceeded},
		"panic": {func(context.Context) (func(), error) { panic(errNoSpace) }, errNoSpace},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t, rendezvous(t))
			c.StateTimeout = moment
			fails := true
			var other []string
			a := join(t, c)
			la := listen(t, a, "tcp", "127.0.0.1:0")
			state(t, a, "one", handoff.Section{Hold: func(ctx context.Context) (func(), error) {
				if fails {
					return tt.hold(ctx)
				}
				return nil, nil
			}})
			state(t, a, "two", handoff.Section{Hold: func(context.Context) (func(), error) {
				other = append(other, "hold")
				return func() { other = append(other, "release") }, nil
			}})
			ready(t, a)
			b := join(t, c)
			listen(t, b, "tcp", "127.0.0.1:0")
			wantErr(t, "Ready", b.Ready(bounded(t)), handoff.ErrAborted)
			failedWith(t, a, handoff.ErrState)
			if s := a.Status(); !errors.Is(s.LastError, tt.want) && !errors.Is(s.LastError, os.ErrDeadlineExceeded) {
				t.Errorf("the error: %v", s.LastError)
			}
			serves(t, la)
			alone(t, a)
			// None is right too: all are held at once, and "one" may have failed before "two" was asked.
			if len(other) != 0 && (len(other) != 2 || other[1] != "release") {
				t.Errorf("what was let go of beside: %v", other)
			}
			fails = false
			serves(t, join3(t, c.Path, a))
		})
	}
}

// TestExclusiveHeir: a generation that is closed, and does not let go, does not leave its sockets to its heir, which could
// begin while this process lives.
func TestExclusiveHeir(t *testing.T) {
	c := config(t, rendezvous(t))
	c.StateTimeout = moment
	a := join(t, c)
	la := listen(t, a, "tcp", "127.0.0.1:0")
	state(t, a, "stuck", handoff.Section{Hold: func(ctx context.Context) (func(), error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	ready(t, a)
	b := join(t, c)
	listen(t, b, "tcp", "127.0.0.1:0")
	shut(t, a)
	wantErr(t, "Ready", b.Ready(bounded(t)), handoff.ErrAborted)
	refused(t, "dial", la.Addr())
}
