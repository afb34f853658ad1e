package integration

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestHeirPrints: a successor that was started by Upgrade prints, before and after its parent is killed, and takes the
// sockets all the same: the broken pipe of its standard output does not end it.
func TestHeirPrints(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	a := w.serving("tcp")
	w.conf.Start, w.conf.USR1 = "hold-joined", "hold"
	mark := w.mark()
	b := w.succeed("upgrade", a, "tcp")
	w.wait(mark, b.pid, "join", "")
	w.signal(a, unix.SIGKILL)
	print := func() {
		t.Helper()
		mark := w.mark()
		w.signal(b, unix.SIGUSR2)
		w.wait(mark, b.pid, "stats", "")
	}
	print() // the parent may be dying
	w.ended(a)
	print() // nobody reads the pipe
	w.wait(mark, b.pid, "log", "the incumbent died; this process takes the sockets when it is ready")
	print()
	w.signal(b, unix.SIGUSR1)
	w.wait(mark, b.pid, "ready", "")
	print()
	soleOwner(t, w.addr, b.pid)
	w.conf.Start = ""
	faultCase{way: "upgrade"}.goOn(t, w, b)
}
