package handoff_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
	"github.com/segue-go/segue/integration/decisions"
)

// What is queued when a deadline is seen to be over counts, and nothing that is said later: a process that goes on to speak puts no
// deadline off.

// chatter is a peer that says something whenever it is heard, so that there is always something queued.
type chatter struct {
	mu   sync.Mutex
	next func() // says it; nil: it has not begun, or is over
}

// trace has the other side, which is in this process, hear the chatter.
func (c *chatter) trace(cfg *handoff.Config) {
	cfg.Trace = &handoff.Trace{Received: func(timeline.Message) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.next != nil {
			time.Sleep(time.Millisecond) // batches are numbered: without a pace the numbers end before the deadline comes
			c.next()
		}
	}}
}

// begin has r say what m returns, until the test ends.
func (c *chatter) begin(r *rawPeer, m func() wire.Message) {
	r.t.Helper()
	say := func() {
		b, err := wire.Encode(m())
		if err == nil {
			err = fdpass.Send(r.conn, b)
		}
		if err != nil { // the other side has hung up
			c.next = nil
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = r.conn.SetWriteDeadline(time.Time{})
	c.next = say
	say()
	say()
	r.t.Cleanup(func() { // before the link is closed
		c.mu.Lock()
		defer c.mu.Unlock()
		c.next = nil
	})
}

// always says m again and again.
func always(m wire.Message) func() wire.Message { return func() wire.Message { return m } }

// quietly is a log that leaves the chatter out.
func quietly(t *testing.T, seen *decided) *slog.Logger {
	return loggerTo(t, io.Discard, slog.LevelDebug, func(d decisions.Decision) {
		if d.State != d.Next {
			seen.add(d)
		}
	})
}

func TestChatterOfSuccessor(t *testing.T) {
	for name, test := range map[string]struct {
		reach        func(*rawPeer)
		guard        time.Duration
		says         wire.Message
		state, event string
	}{
		"unconfirmed": {func(r *rawPeer) { r.owned(0) }, 0, &wire.Pong{}, "UNCONFIRMED", "no time left"},
		"guard":       {func(r *rawPeer) { r.owned(0); r.send(&wire.Confirm{}) }, 100 * time.Millisecond, &wire.Owned{}, "GUARD", "the guard is over"},
		"asking":      {func(r *rawPeer) { r.owned(0); r.send(&wire.Confirm{}); hear[*wire.Ping](r) }, 0, &wire.Confirm{}, "ASKING", "no time left"},
	} {
		t.Run(name, func(t *testing.T) {
			seen := newDecided()
			path := rendezvous(t)
			c := config(t, path)
			c.StepTimeout, c.Guard, c.Logger = 300*time.Millisecond, test.guard, quietly(t, seen)
			var talk chatter
			talk.trace(&c)
			first(t, c)
			r := dialRaw(t, path)
			test.reach(r)
			talk.begin(r, always(test.says))
			seen.until(t, test.event+" in "+test.state, func(d decisions.Decision) bool { return d.State == test.state && d.Event == test.event })
		})
	}
}

// Close of an incumbent ends although its successor goes on to speak.
func TestChatterWhileClosing(t *testing.T) {
	path := rendezvous(t)
	c := config(t, path)
	c.Guard, c.Logger = time.Hour, quietly(t, newDecided())
	var talk chatter
	talk.trace(&c)
	a, _ := first(t, c)
	r := dialRaw(t, path)
	r.owned(0)
	r.send(&wire.Confirm{})
	superseded(t, a)
	talk.begin(r, always(&wire.Owned{}))
	shut(t, a)
}

// A successor that proves nothing, and goes on to say so, is sent away.
func TestChatterOfReceipts(t *testing.T) {
	path := rendezvous(t)
	c := config(t, path)
	c.ReadyTimeout = 300 * time.Millisecond
	var talk chatter
	talk.trace(&c)
	a, l := first(t, c)
	r := dialRaw(t, path)
	r.offered()
	batch := -1
	talk.begin(r, func() wire.Message {
		batch++
		return &wire.Prepared{Batch: batch}
	})
	eventually(t, "the attempt fails", func() bool { return a.Status().LastError != nil })
	if err := a.Status().LastError; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want a deadline", err)
	}
	serves(t, l)
}

// A successor that was sent away, and goes on to speak instead of hanging up, is killed.
func TestChatterOfDismissed(t *testing.T) {
	path := rendezvous(t)
	c := config(t, path)
	c.StepTimeout = time.Second
	var talk chatter
	talk.trace(&c)
	a, l := first(t, c)
	r := dialRaw(t, path)
	var pup *puppet
	r.voice = func(m wire.Message) { pup = r.puppetSays(m) }
	r.offered()
	r.send(&wire.Failed{Reason: "no"})
	hear[*wire.Abort](r)
	talk.begin(r, always(&wire.Pong{}))
	ended := make(chan error, 1)
	go func() { ended <- pup.cmd.Wait() }()
	if err := result(t, "the end of the successor", ended); err == nil {
		t.Error("the successor was not killed")
	}
	pup.ended = true
	serves(t, l)
	eventually(t, "the attempt to end", func() bool { return a.Status().Successor == 0 })
}

// An incumbent that says again and again that it is not ready has as long for that as one that says it once.
func TestChatterOfWait(t *testing.T) {
	path := rendezvous(t)
	server := rawListener(t, path)
	c := config(t, path)
	c.ReadyTimeout, c.StepTimeout = 300*time.Millisecond, 200*time.Millisecond
	var talk chatter
	talk.trace(&c)
	failed := make(chan error, 1)
	go func() {
		g, err := handoff.Join(context.Background(), c)
		if err == nil {
			_ = g.Close()
		}
		failed <- err
	}()
	r := acceptRaw(t, server)
	hear[*wire.Hello](r)
	talk.begin(r, always(&wire.Wait{Phase: "starting"}))
	if err := result(t, "Join", failed); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Join: %v, want a deadline", err)
	}
}
