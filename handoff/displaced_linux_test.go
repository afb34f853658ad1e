package handoff_test

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// silentRaw is a successor that does not answer an OFFER.
func silentRaw(t *testing.T, path string) *rawPeer {
	t.Helper()
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

// A caller that says HELLO and then nothing keeps nobody from taking over: another one takes its place.
func TestSilentSuccessorIsDisplaced(t *testing.T) {
	slow := func(t *testing.T, path string) handoff.Config {
		c := config(t, path)
		c.StepTimeout = time.Minute
		return c
	}
	t.Run("by a caller", func(t *testing.T) {
		path := rendezvous(t)
		a, _ := first(t, slow(t, path))
		r := silentRaw(t, path)
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
		r := silentRaw(t, path)
		var child *handoff.ChildError
		if err := a.Upgrade(bounded(t)); !asError(err, &child) {
			t.Errorf("Upgrade: %v, want the end of the command that it started", err)
		}
		hear[*wire.Abort](r)
		r.close()
		serves(t, l)
	})
}

// Of several that wait for the place of a silent one, one gets it, and keeps it.
func TestSeveralWaitForTheSilent(t *testing.T) {
	path := rendezvous(t)
	c := config(t, path)
	c.StepTimeout = time.Minute
	c.Command = func() *exec.Cmd { return exec.Command("false") }
	a, _ := first(t, c)
	r := silentRaw(t, path)
	upgraded := make(chan error, 1)
	go func() { upgraded <- a.Upgrade(bounded(t)) }()
	type joined struct {
		g   *handoff.Generation
		err error
	}
	const n = 4
	all := make(chan joined, n)
	for range n {
		go func() {
			c := config(t, path)
			c.StepTimeout = 100 * time.Millisecond // it is told to wait
			g, err := handoff.Join(bounded(t), c)
			all <- joined{g, err}
		}()
	}
	hear[*wire.Abort](r)
	r.close()
	var child *handoff.ChildError
	if err := result(t, "Upgrade", upgraded); !asError(err, &child) {
		t.Errorf("Upgrade, which goes first: %v", err)
	}
	won := 0
	for range n {
		j := result(t, "Join", all)
		if j.err == nil {
			won++
			defer shut(t, j.g)
		} else if !errors.Is(j.err, handoff.ErrBusy) {
			t.Errorf("Join: %v", j.err)
		}
	}
	if won > 1 {
		t.Errorf("%d have joined", won)
	}
}

// A signal takes the place of a silent successor as a call of Upgrade does, however many callers are silent.
func TestSignalDisplacesTheSilent(t *testing.T) {
	path := rendezvous(t)
	c := config(t, path)
	c.StepTimeout = time.Minute
	c.Signals = []os.Signal{unix.SIGUSR2}
	c.Command = func() *exec.Cmd { return exec.Command("false") }
	log := logs(t, &c)
	_, _ = first(t, c)
	r := silentRaw(t, path)
	if err := unix.Kill(os.Getpid(), unix.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	log.says(t, "upgrade begins")
	hear[*wire.Abort](r)
	r.close()
	log.says(t, "upgrade failed")
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
