package integration

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSiblings has a server start its successors as children of its own parent, this process: an upgrade succeeds under load,
// one whose successor fails says how that ended, and one that takes the sockets and dies is followed by a revival.
func TestSiblings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	w.conf.Siblings, w.conf.Guard = true, 2*time.Second
	a := w.serving("tcp")
	vs := come(t, w.addr, 3)
	sibling := func(start string) *proc {
		t.Helper()
		w.conf.Start = start
		w.configure()
		mark := w.mark()
		w.signal(a, unix.SIGHUP)
		e := w.await(mark, "a successor", func(e event) bool { return e.Ev == "start" })
		if e.Parent != os.Getpid() {
			t.Errorf("the parent of the successor is %d, want %d", e.Parent, os.Getpid())
		}
		return w.of(e.PID)
	}
	sibling("exit3")
	e := w.wait(0, a.pid, "upgrade", "")
	for _, want := range []string{"ended: exit status 3", "cannot find my configuration"} {
		if !strings.Contains(e.Err, want) {
			t.Errorf("the upgrade failed with %q, without %q", e.Err, want)
		}
	}
	mark := w.mark()
	b := sibling("")
	w.wait(mark, a.pid, "upgrade", "")
	w.signal(b, unix.SIGKILL)
	w.wait(mark, a.pid, "phase", "serving")
	mark = w.mark()
	c := sibling("")
	w.wait(mark, a.pid, "upgrade", "")
	w.ended(a)
	if !c.alive() {
		t.Error("the successor ended with its predecessor")
	}
	for _, v := range lost(vs.leave()) {
		if v.pid != b.pid && v.pid != 0 { // what the one that was killed had accepted dies with it
			t.Errorf("lost: %v", v)
		}
	}
}
