package handoff_test

import (
	"context"
	"os"
	"testing"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// fresh is a section of c with Fresh.
func (c *cell) fresh(s handoff.Section) handoff.Section {
	s.Fresh = func(ctx context.Context) error {
		err := c.call(ctx, "fresh")
		if err == nil {
			c.set("fresh")
		}
		return err
	}
	return s
}

func (c *cell) ahead() handoff.Section {
	return handoff.Section{Ahead: c.write("ahead"), RestoreAhead: c.read("restore-ahead")}
}

// TestFresh: Fresh is called if a section does not come, and only then.
func TestFresh(t *testing.T) {
	for name, tt := range map[string]struct {
		theirs func(*cell) handoff.Section // of the predecessor; nil: it has another
		ours   func(*cell) handoff.Section
		calls  string
		value  string
	}{
		"exact":            {(*cell).exact, (*cell).exact, "restore", "1"},
		"both":             {(*cell).both, (*cell).both, "restore-ahead restore", "1"},
		"ahead":            {(*cell).ahead, (*cell).ahead, "restore-ahead", "1"},
		"both, from ahead": {(*cell).ahead, (*cell).both, "restore-ahead", "1"},
		"another":          {nil, (*cell).both, "fresh", "fresh"},
		"another, ahead":   {nil, (*cell).ahead, "fresh", "fresh"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t, rendezvous(t))
			was, is := newCell("1"), newCell("nothing")
			a := join(t, c)
			la := listen(t, a, "tcp", "127.0.0.1:0")
			if tt.theirs == nil {
				state(t, a, "other", was.exact())
			} else {
				state(t, a, "cell", was.fresh(tt.theirs(was)))
			}
			ready(t, a)
			if got, want := was.called(), "fresh"; tt.theirs != nil && got != want {
				t.Errorf("called in the first generation: %s, want %s", got, want)
			}
			was.set("1")
			is.on(func(name string) {
				if name == "fresh" { // nobody waits for it
					serves(t, la)
				}
			})
			b, _ := nextWith(t, c, is.fresh(tt.ours(is)))
			supersede(t, a, b)
			if is.called() != tt.calls || is.get() != tt.value {
				t.Errorf("%q by %q, want %q by %q", is.get(), is.called(), tt.value, tt.calls)
			}
		})
	}
}

// TestFreshHeir: what had not arrived when the incumbent was closed.
func TestFreshHeir(t *testing.T) {
	for _, tt := range []struct{ closed, calls string }{
		{"before Ready", "fresh"},
		{"ahead", "fresh"},
		{"restore-ahead", "restore-ahead fresh"},
		{"restore", "restore-ahead restore"},
	} {
		t.Run(tt.closed, func(t *testing.T) {
			t.Parallel()
			c := config(t, rendezvous(t))
			was, is := newCell("1"), newCell("")
			a, _ := firstWith(t, c, was.both())
			b, lb := nextWith(t, c, is.fresh(is.both()))
			done := make(chan struct{})
			shutA := func(at string) {
				if at == tt.closed {
					go func() { defer close(done); _ = a.Close() }()
					awaitPhase(t, a, handoff.PhaseGuarding, handoff.PhaseStopped)
				}
			}
			was.on(shutA)
			is.on(shutA)
			shutA("before Ready")
			ready(t, b)
			serves(t, lb)
			await(t, "Close", done)
			if is.called() != tt.calls {
				t.Errorf("called %q, want %q", is.called(), tt.calls)
			}
		})
	}
}

// TestFreshFails: an error keeps this generation from owning.
func TestFreshFails(t *testing.T) {
	c := config(t, rendezvous(t))
	bad := newCell("")
	bad.fail = map[string]error{"fresh": errNoSpace}
	a := join(t, config(t, rendezvous(t)))
	state(t, a, "cell", bad.fresh(bad.exact()))
	err := a.Ready(bounded(t))
	wantErr(t, "Ready of the first", err, errNoSpace)
	wantErr(t, "Ready of the first", err, handoff.ErrState)

	a, la := first(t, c)
	b, _ := nextWith(t, c, bad.fresh(bad.exact()))
	wantErr(t, "Ready", b.Ready(bounded(t)), errNoSpace)
	failedWith(t, a, handoff.ErrAborted)
	serves(t, la)
}

// TestFreshUnnamed: an incumbent that does not say which sections it has may send them, or not. One that says it keeps to it.
func TestFreshUnnamed(t *testing.T) {
	for name, tt := range map[string]struct {
		names []string
		sends bool
		calls string
	}{
		"comes":             {nil, true, "restore"},
		"does not come":     {nil, false, "fresh"},
		"named":             {[]string{"cell"}, true, "restore"},
		"comes unannounced": {[]string{"other"}, true, "fresh"},
		"named, not for us": {[]string{"cell"}, false, "fresh"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := rendezvous(t)
			rl := rawListener(t, path)
			is := newCell("")
			joined := make(chan *handoff.Generation, 1)
			go func() { // Join needs an incumbent that answers
				g, err := handoff.Join(context.Background(), config(t, path))
				if err != nil {
					t.Errorf("Join: %v", err)
				}
				joined <- g
			}()
			r := acceptRaw(t, rl)
			hear[*wire.Hello](r)
			r.token = newEventfd(t, 1)
			r.send(&wire.Welcome{Version: wire.Version, Generation: 2, Name: "raw", PID: os.Getpid(), Features: []string{"state"},
				StateWithin: 10_000, Sections: tt.names}, r.token)
			l := tcpListener(t)
			r.offer([]wire.Item{{Name: "tcp/127.0.0.1:0", Kind: wire.KindListener, Network: "tcp", Address: "127.0.0.1:0"}}, l)
			g := result(t, "Join", joined)
			defer shut(t, g)
			listen(t, g, "tcp", "127.0.0.1:0")
			state(t, g, "cell", is.fresh(is.exact()))
			end := make(chan error, 1)
			go func() { end <- g.Ready(bounded(t)) }()
			hear[*wire.Prepared](r)
			if tt.sends {
				r.send(&wire.State{Name: "cell", Size: 1}, newMemfd(t, "1", allSeals))
				if name == "comes unannounced" {
					wantErr(t, "Ready", result(t, "Ready", end), handoff.ErrProtocol)
					return
				}
				r.send(&wire.Saved{})
				hear[*wire.Restored](r)
			}
			r.send(&wire.Commit{})
			if err := result(t, "Ready", end); err != nil {
				t.Fatal(err)
			}
			if is.called() != tt.calls {
				t.Errorf("called %q, want %q", is.called(), tt.calls)
			}
		})
	}
}
