package integration

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSweptRendezvous: without the path an incumbent still starts its successors, and one of them makes the path again as soon
// as it can. Clients notice nothing.
func TestSweptRendezvous(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	run := filepath.Join(w.dir, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	w.conf.Path = filepath.Join(run, "s")
	a := w.serving("tcp")
	vs := come(t, w.addr, 2)
	if err := os.RemoveAll(run); err != nil {
		t.Fatal(err)
	}
	var last *proc
	next := func(way string, from *proc) {
		t.Helper()
		mark := w.mark()
		last = w.succeed(way, from, "tcp")
		if e := w.wait(mark, last.pid, "ready", ""); e.Err != "" {
			t.Fatalf("%s: %s", way, e.Err)
		}
		w.ended(from)
		vs.answered(t, last.pid)
	}
	next("upgrade", a)
	w.wait(0, last.pid, "log", "the rendezvous was removed and cannot be bound again; only a signal or Upgrade starts a successor")
	// Started beside it, one takes itself for the first.
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	stray := w.start("tcp")
	w.ended(stray)
	if left, err := os.ReadDir(run); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	next("upgrade", last)
	next("join", last)
	next("upgrade", last)
	for _, v := range lost(vs.leave()) {
		t.Errorf("lost: %v", v)
	}
}
