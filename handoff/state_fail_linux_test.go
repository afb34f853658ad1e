package handoff_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
)

var errNoSpace = errors.New("no space left in the suitcase")

// TestStateFails: whatever a callback does wrong, nothing has happened, and the next attempt succeeds.
func TestStateFails(t *testing.T) {
	for _, at := range []string{"ahead", "restore-ahead", "hold", "save", "restore"} {
		for _, how := range []string{"error", "panic", "EOF", "slow", "stuck"} {
			t.Run(at+" "+how, func(t *testing.T) {
				t.Parallel()
				c := config(t, rendezvous(t))
				c.Guard = time.Minute
				was, is := newCell("1"), newCell("nothing")
				guilty := was
				if strings.HasPrefix(at, "restore") {
					guilty = is
				}
				want := os.ErrDeadlineExceeded
				switch how {
				case "error", "panic":
					guilty.panics = how == "panic"
					guilty.fail, want = map[string]error{at: errNoSpace}, errNoSpace
				case "EOF": // which the end of a connection is, too
					guilty.fail, want = map[string]error{at: io.EOF}, io.EOF
				case "slow":
					close(guilty.letGo) // it returns when its context ends
					fallthrough
				default:
					guilty.block, c.StateTimeout = at, 50*time.Millisecond
				}
				a, la := firstWith(t, c, was.both())
				b, _ := nextWith(t, c, is.both())
				err := b.Ready(bounded(t))
				if guilty == is && want != os.ErrDeadlineExceeded {
					wantErr(t, "Ready", err, want)
					wantErr(t, "Ready", err, handoff.ErrState)
					failedWith(t, a, handoff.ErrAborted)
				} else {
					wantErr(t, "Ready", err, handoff.ErrAborted)
					failedWith(t, a, want)
				}
				failedWith(t, a, handoff.ErrState)
				serves(t, la)
				if held := strings.Contains(was.called(), "hold"); how != "stuck" && at != "hold" && held != strings.HasSuffix(was.called(), "release") {
					t.Errorf("called %s: held is not released", was.called())
				}
				alone(t, a)
				if how == "stuck" {
					if guilty == was { // until it has returned there is no other attempt
						d, _ := nextWith(t, c, newCell("").both())
						wantErr(t, "Ready while it is stuck", d.Ready(bounded(t)), handoff.ErrAborted)
						alone(t, a)
					}
					close(guilty.letGo)
				}
				if at == "hold" && how == "stuck" { // its release comes late, but it comes
					eventually(t, "release", func() bool { return strings.HasSuffix(was.called(), "release") })
				}
				guilty.mu.Lock()
				guilty.fail, guilty.block = nil, ""
				guilty.mu.Unlock()
				shut(t, b)
				for last := time.Now().Add(patience); ; alone(t, a) { // one that was stuck may take a moment to return
					third := newCell("nothing")
					d, ld := nextWith(t, c, third.both())
					if err := d.Ready(bounded(t)); err != nil {
						if time.Now().After(last) {
							t.Fatal(err)
						}
						continue
					}
					if third.get() != "1" {
						t.Errorf("restored %q", third.get())
					}
					serves(t, ld)
					return
				}
			})
		}
	}
}

// alone waits until g has done with an attempt that failed.
func alone(t *testing.T, g *handoff.Generation) {
	t.Helper()
	eventually(t, "the end of the attempt", func() bool { return g.Status().Successor == 0 })
}

// TestStateClosed: a generation is closed while its state moves.
func TestStateClosed(t *testing.T) {
	for _, at := range []string{"ahead", "restore-ahead", "hold", "save", "restore"} {
		t.Run("successor at "+at, func(t *testing.T) {
			t.Parallel()
			c := config(t, rendezvous(t))
			was, is := newCell("1"), newCell("nothing")
			blocked := was
			if strings.HasPrefix(at, "restore") {
				blocked = is
			}
			blocked.block = at
			close(blocked.letGo)
			a, la := firstWith(t, c, was.both())
			b, _ := nextWith(t, c, is.both())
			readied := make(chan error, 1)
			go func() { readied <- b.Ready(bounded(t)) }()
			for result(t, at, blocked.entered) != at {
			}
			shut(t, b)
			if err := result(t, "Ready", readied); err == nil {
				t.Error("Ready succeeds")
			}
			failedWith(t, a, handoff.ErrAborted)
			serves(t, la)
		})
		// At the rendezvous the successor is the heir: it serves, with what it has got.
		t.Run("incumbent at "+at, func(t *testing.T) {
			t.Parallel()
			c := config(t, rendezvous(t))
			was, is := newCell("1"), newCell("nothing")
			goOn, want := make(chan struct{}), map[string]string{
				"ahead": "nothing", "restore-ahead": "1", "hold": "1", "save": "1", "restore": "1",
			}[at]
			entered := was.entered
			if strings.HasPrefix(at, "restore") {
				entered = is.entered
				is.then = func(name string) {
					if name == at {
						<-goOn
					}
				}
			} else {
				was.block = at // until its context ends, with Close
				close(was.letGo)
			}
			a, _ := firstWith(t, c, was.both())
			b, lb := nextWith(t, c, is.both())
			readied := make(chan error, 1)
			go func() { readied <- b.Ready(bounded(t)) }()
			for result(t, at, entered) != at {
			}
			shut(t, a)
			if strings.HasPrefix(at, "restore") {
				pending(t, "Ready", readied)
			}
			close(goOn) // all that it needs has arrived
			if err := result(t, "Ready", readied); err != nil {
				t.Fatal(err)
			}
			serves(t, lb)
			if is.get() != want {
				t.Errorf("the heir has %q, want %q", is.get(), want)
			}
		})
	}
}

// TestStateChanged: what a program opens and closes in the gap counts.
func TestStateChanged(t *testing.T) {
	c := config(t, rendezvous(t))
	was := newCell("1")
	a := join(t, c)
	la, spare := listenAs(t, a, "a", "tcp", "127.0.0.1:0"), listenAs(t, a, "spare", "tcp", "127.0.0.1:0")
	state(t, a, "cell", was.exact())
	ready(t, a)
	was.on(func(name string) {
		if name != "save" {
			return
		}
		_ = spare.Close()
		if _, err := a.Listen(context.Background(), "tcp", "127.0.0.1:0"); !errors.Is(err, handoff.ErrNotOwner) {
			t.Errorf("Listen in the gap: %v", err)
		}
	})
	b := join(t, c)
	listenAs(t, b, "a", "tcp", "127.0.0.1:0")
	listenAs(t, b, "spare", "tcp", "127.0.0.1:0")
	state(t, b, "cell", newCell("").exact())
	wantErr(t, "Ready", b.Ready(bounded(t)), handoff.ErrAborted)
	failedWith(t, a, handoff.ErrChanged)
	serves(t, la)
	if got := was.called(); got != "hold save release" {
		t.Errorf("called %q", got)
	}
}

// TestStateGap: nobody is accepted while state is saved, and everybody afterwards.
func TestStateGap(t *testing.T) {
	c := config(t, rendezvous(t))
	was, is := newCell("1"), newCell("")
	a, la := firstWith(t, c, was.both())
	inA := accepting(t, la)
	var client net.Conn
	was.on(func(name string) {
		switch name {
		case "ahead":
			client := dial(t, la.Addr())
			defer client.Close()
			if err := result(t, "Accept while it is sent ahead", inA); err != nil {
				t.Error(err)
			}
			inA = accepting(t, la)
		case "save":
			client = dial(t, la.Addr())
			pending(t, "Accept in the gap", inA)
		}
	})
	b, lb := nextWith(t, c, is.both())
	inB := accepting(t, lb)
	ready(t, b)
	if err := result(t, "Accept in the successor", inB); err != nil {
		t.Error(err)
	}
	_ = client.Close()
	superseded(t, a)
}

// TestStateWriteAfterTimeout: what a callback writes after its time is over goes nowhere, and tells it so.
func TestStateWriteAfterTimeout(t *testing.T) {
	c := config(t, rendezvous(t))
	c.StateTimeout = 50 * time.Millisecond
	wrote := make(chan error, 1)
	a, la := firstWith(t, c, handoff.Section{
		Save: func(ctx context.Context, w io.Writer) error {
			<-ctx.Done()
			_, err := w.Write(make([]byte, 1<<20))
			wrote <- err
			return nil
		},
		Restore: newCell("").read("restore"),
	})
	b, _ := nextWith(t, c, newCell("").exact())
	wantErr(t, "Ready", b.Ready(bounded(t)), handoff.ErrAborted)
	if err := result(t, "the write", wrote); err == nil {
		t.Error("it is written")
	}
	failedWith(t, a, os.ErrDeadlineExceeded)
	serves(t, la)
}
