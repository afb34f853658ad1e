package handoff_test

import (
	"os/exec"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// A caller that says HELLO and then nothing keeps nobody from taking over: another one takes its place.
func TestSilentSuccessorIsDisplaced(t *testing.T) {
	silent := func(t *testing.T, path string) *rawPeer {
		r := dialRaw(t, path)
		r.welcomed()
		m, raw, err := r.recv()
		if err != nil {
			t.Fatal(err)
		}
		raw.Close()
		if _, ok := m.(*wire.Offer); !ok {
			t.Fatalf("got %T", m)
		}
		return r
	}
	slow := func(t *testing.T, path string) handoff.Config {
		c := config(t, path)
		c.StepTimeout = time.Minute
		return c
	}
	t.Run("by a caller", func(t *testing.T) {
		path := rendezvous(t)
		a, _ := first(t, slow(t, path))
		r := silent(t, path)
		b := join(t, config(t, path))
		hear[*wire.Abort](r)
		r.close()
		l := listen(t, b, "tcp", "127.0.0.1:0")
		supersede(t, a, b)
		serves(t, l)
	})
	t.Run("by Upgrade", func(t *testing.T) {
		path := rendezvous(t)
		c := slow(t, path)
		c.Command = func() *exec.Cmd { return exec.Command("false") }
		a, l := first(t, c)
		r := silent(t, path)
		var child *handoff.ChildError
		if err := a.Upgrade(bounded(t)); !asError(err, &child) {
			t.Errorf("Upgrade: %v, want the end of the command that it started", err)
		}
		hear[*wire.Abort](r)
		r.close()
		serves(t, l)
	})
}

// One that has answered is not displaced, however long it prepares itself.
func TestSlowSuccessorIsNotDisplaced(t *testing.T) {
	path := rendezvous(t)
	_, _ = first(t, config(t, path))
	r := dialRaw(t, path)
	r.offered()
	_, err := handoff.Join(bounded(t), config(t, path))
	wantErr(t, "Join", err, handoff.ErrBusy)
	r.prepared(r.receipts(), 0)
	hear[*wire.Commit](r)
}
