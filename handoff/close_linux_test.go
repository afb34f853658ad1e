package handoff_test

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
)

func refused(t *testing.T, what string, a net.Addr) {
	t.Helper()
	c, err := net.DialTimeout(a.Network(), a.String(), patience)
	if err == nil {
		_ = c.Close()
	}
	wantErr(t, what, err, syscall.ECONNREFUSED)
}

// eventuallyRefused is for what the other side does after it has read a message.
func eventuallyRefused(t *testing.T, what string, a net.Addr) {
	t.Helper()
	eventually(t, what, func() bool {
		c, err := net.DialTimeout(a.Network(), a.String(), patience)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	refused(t, what, a)
}

// failedWith waits for the error of g's last attempt to hand over.
func failedWith(t *testing.T, g *handoff.Generation, target error) {
	t.Helper()
	eventually(t, "the incumbent's error", func() bool { return g.Status().LastError != nil })
	wantErr(t, "the incumbent's error", g.Status().LastError, target)
}

// TestCloseListener closes a listener at each phase of its generation. Nobody may be left who connects to nothing.
func TestCloseListener(t *testing.T) {
	closed := func(t *testing.T, l net.Listener) {
		t.Helper()
		blocked := accepting(t, l)
		if err := l.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		wantErr(t, "Accept", result(t, "Accept", blocked), net.ErrClosed)
		wantErr(t, "a second Close", l.Close(), net.ErrClosed)
	}
	t.Run("starting, first", func(t *testing.T) {
		g := join(t, config(t, rendezvous(t)))
		l := listen(t, g, "tcp", "127.0.0.1:0")
		closed(t, l)
		refused(t, "dial", l.Addr())
		ready(t, g)
	})
	t.Run("serving", func(t *testing.T) {
		path := rendezvous(t)
		a, l := first(t, config(t, path))
		kept := listenAs(t, a, "kept", "tcp", "127.0.0.1:0")
		serves(t, kept)
		closed(t, l)
		refused(t, "dial", l.Addr())
		b := join(t, config(t, path))
		fresh := listen(t, b, "tcp", "127.0.0.1:0")
		lb := listenAs(t, b, "kept", "tcp", "127.0.0.1:0")
		supersede(t, a, b)
		serves(t, lb)
		serves(t, fresh)
		if s := b.Status().Sockets; len(s) != 2 || s[0].Inherited || !s[1].Inherited {
			t.Errorf("Status says %+v", s)
		}
	})
	t.Run("starting, successor", func(t *testing.T) {
		path := rendezvous(t)
		a, la := first(t, config(t, path))
		b := join(t, config(t, path))
		lb := listen(t, b, "tcp", "127.0.0.1:0")
		closed(t, lb)
		serves(t, la)
		// It can be asked for again, but is not inherited any more.
		supersede(t, a, b)
		eventuallyRefused(t, "dial", la.Addr())
	})
	t.Run("during an attempt", func(t *testing.T) {
		path := rendezvous(t)
		a, la := first(t, config(t, path))
		kept := listenAs(t, a, "kept", "tcp", "127.0.0.1:0")
		b := join(t, config(t, path))
		listen(t, b, "tcp", "127.0.0.1:0")
		listenAs(t, b, "kept", "tcp", "127.0.0.1:0")
		closed(t, la)
		err := b.Ready(bounded(t))
		wantErr(t, "Ready", err, handoff.ErrAborted)
		awaitPhase(t, a, handoff.PhaseServing)
		failedWith(t, a, handoff.ErrChanged)
		eventuallyRefused(t, "dial", la.Addr())
		serves(t, kept)
		eventually(t, "the end of the attempt", func() bool { return a.Status().Successor == 0 })
		c := join(t, config(t, path)) // try again
		lc := listenAs(t, c, "kept", "tcp", "127.0.0.1:0")
		supersede(t, a, c)
		serves(t, lc)
	})
	t.Run("listen during an attempt", func(t *testing.T) {
		path := rendezvous(t)
		a, la := first(t, config(t, path))
		b := join(t, config(t, path))
		listen(t, b, "tcp", "127.0.0.1:0")
		more := listenAs(t, a, "more", "tcp", "127.0.0.1:0")
		wantErr(t, "Ready", b.Ready(bounded(t)), handoff.ErrAborted)
		awaitPhase(t, a, handoff.PhaseServing)
		failedWith(t, a, handoff.ErrChanged)
		serves(t, la)
		serves(t, more)
	})
	for _, phase := range []string{"guarded by the predecessor", "on probation"} {
		t.Run(phase, func(t *testing.T) {
			path := rendezvous(t)
			ca, cb := config(t, path), config(t, path)
			ca.Guard = time.Minute
			if phase == "on probation" {
				cb.Probation = time.Minute
			}
			a, la := first(t, ca)
			b := join(t, cb)
			lb := listen(t, b, "tcp", "127.0.0.1:0")
			ready(t, b)
			serves(t, lb)
			inA := accepting(t, la)
			closed(t, lb)
			// The predecessor's copy would keep the port open with nobody behind.
			eventuallyRefused(t, "dial", lb.Addr())
			pending(t, "Accept in the predecessor", inA)
			shut(t, a)
			wantErr(t, "Accept in the predecessor", result(t, "Accept", inA), net.ErrClosed)
		})
	}
	t.Run("superseded", func(t *testing.T) {
		path := rendezvous(t)
		ca := config(t, path)
		ca.Guard = time.Minute
		a, la := first(t, ca)
		b := join(t, config(t, path))
		lb := listen(t, b, "tcp", "127.0.0.1:0")
		ready(t, b)
		superseded(t, a)
		closed(t, la)
		serves(t, lb)
	})
	t.Run("while the successor waits for COMMIT", func(t *testing.T) {
		path := rendezvous(t)
		l := rawListener(t, path)
		joined := make(chan error, 1)
		var b *handoff.Generation
		var lb net.Listener
		go func() {
			var err error
			b, err = handoff.Join(context.Background(), config(t, path))
			if err == nil {
				lb, err = b.Listen(context.Background(), "tcp", "127.0.0.1:0")
			}
			joined <- err
		}()
		inc := acceptRaw(t, l)
		hear[*wire.Hello](inc)
		inc.welcome(1)
		inc.offer([]wire.Item{{Name: "tcp/127.0.0.1:0", Kind: wire.KindListener, Network: "tcp", Address: "127.0.0.1:0"}},
			tcpListener(t))
		if err := result(t, "Join", joined); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { shut(t, b) })
		readied := make(chan error, 1)
		ctx := bounded(t)
		go func() { readied <- b.Ready(ctx) }()
		if p := hear[*wire.Prepared](inc); len(p.Receipts) != 1 || !p.Receipts[0].Claimed {
			t.Fatalf("got %+v", p)
		}
		closed(t, lb)
		inc.send(&wire.Commit{})
		if err := result(t, "Ready", readied); err != nil {
			t.Fatal(err)
		}
		// The incumbent has paused it, and would keep it for its guard.
		for {
			switch m := inc.next().(type) {
			case *wire.Owned, *wire.Confirm:
				continue
			case *wire.Drop:
				if m.Item != 0 {
					t.Errorf("dropped %d", m.Item)
				}
				return
			default:
				t.Fatalf("got %+v, want DROP", m)
			}
		}
	})
}

// TestClose closes a generation in each of its phases.
func TestClose(t *testing.T) {
	t.Run("starting, first", func(t *testing.T) {
		path := rendezvous(t)
		g := join(t, config(t, path))
		l := listen(t, g, "tcp", "127.0.0.1:0")
		shut(t, g)
		shut(t, g) // idempotent
		refused(t, "dial", l.Addr())
		wantErr(t, "Ready", g.Ready(bounded(t)), net.ErrClosed)
		wantErr(t, "Wait", g.Wait(bounded(t), nil), net.ErrClosed)
		wantErr(t, "Upgrade", g.Upgrade(bounded(t)), handoff.ErrNotOwner)
		if p := g.Status().Phase; p != handoff.PhaseStopped {
			t.Errorf("it is %s", p)
		}
		_, again := first(t, config(t, path)) // the path is free
		serves(t, again)
	})
	t.Run("serving", func(t *testing.T) {
		g, l := first(t, config(t, rendezvous(t)))
		end, blocked := waiting(t, g, nil), accepting(t, l)
		shut(t, g)
		wantErr(t, "Wait", result(t, "Wait", end), net.ErrClosed)
		wantErr(t, "Accept", result(t, "Accept", blocked), net.ErrClosed)
		refused(t, "dial", l.Addr())
	})
	t.Run("a successor before Ready", func(t *testing.T) {
		path := rendezvous(t)
		a, la := first(t, config(t, path))
		b := join(t, config(t, path))
		lb := listen(t, b, "tcp", "127.0.0.1:0")
		shut(t, b)
		wantErr(t, "Accept", result(t, "Accept", accepting(t, lb)), net.ErrClosed)
		awaitPhase(t, a, handoff.PhaseServing)
		serves(t, la)
		eventually(t, "the end of the attempt", func() bool { return a.Status().Successor == 0 })
		c := join(t, config(t, path))
		lc := listen(t, c, "tcp", "127.0.0.1:0")
		supersede(t, a, c)
		serves(t, lc)
	})
	t.Run("the incumbent before the commit", func(t *testing.T) {
		// The successor was started by somebody else, and is the heir.
		path := rendezvous(t)
		a, la := first(t, config(t, path))
		b := join(t, config(t, path))
		lb := listen(t, b, "tcp", "127.0.0.1:0")
		waitingClients := queued(t, la.Addr(), 3)
		shut(t, a)
		ready(t, b)
		for range waitingClients {
			if err := result(t, "Accept of what waited", accepting(t, lb)); err != nil {
				t.Fatal(err)
			}
		}
		serves(t, join3(t, path, b))
	})
	t.Run("the successor within the guard", func(t *testing.T) {
		// Somebody wished it: nobody is revived.
		path := rendezvous(t)
		ca := config(t, path)
		ca.Guard = time.Minute
		a, la := first(t, ca)
		b := join(t, config(t, path))
		listen(t, b, "tcp", "127.0.0.1:0")
		ready(t, b)
		superseded(t, a)
		shut(t, b)
		if err := result(t, "Wait", waiting(t, a, nil)); err != nil {
			t.Fatal(err)
		}
		refused(t, "dial", la.Addr())
	})
	t.Run("the successor on probation", func(t *testing.T) {
		path := rendezvous(t)
		a, la := first(t, config(t, path))
		c := config(t, path)
		c.Probation = time.Minute
		b := join(t, c)
		listen(t, b, "tcp", "127.0.0.1:0")
		ready(t, b)
		end := waiting(t, a, nil)
		pending(t, "Wait", end)
		shut(t, b)
		if err := result(t, "Wait", end); err != nil {
			t.Fatal(err)
		}
		refused(t, "dial", la.Addr())
	})
	t.Run("the incumbent within its guard", func(t *testing.T) {
		path := rendezvous(t)
		ca := config(t, path)
		ca.Guard = time.Minute
		a, _ := first(t, ca)
		b := join(t, config(t, path))
		lb := listen(t, b, "tcp", "127.0.0.1:0")
		ready(t, b)
		superseded(t, a)
		end := waiting(t, a, nil)
		shut(t, a)
		wantErr(t, "Wait", result(t, "Wait", end), net.ErrClosed)
		serves(t, lb)
		serves(t, join3(t, path, b))
	})
}

// join3 hands over once more, from g, and returns the new generation's listener.
func join3(t *testing.T, path string, g *handoff.Generation) net.Listener {
	t.Helper()
	c := join(t, config(t, path))
	l := listen(t, c, "tcp", "127.0.0.1:0")
	supersede(t, g, c)
	return l
}
