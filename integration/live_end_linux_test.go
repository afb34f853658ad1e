package integration

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestClosedWhileMoving: the incumbent is told to stop for good while connections move. All arrive first, those that wait to
// be sent and those that the successor has received and not acknowledged.
func TestClosedWhileMoving(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		t.Run(map[bool]string{false: "at_once", true: "with_answers_unread"}[stopped], func(t *testing.T) {
			t.Parallel()
			w, a := liveWorld(t, "tcp")
			const n = 1000
			ks := w.crowd(n, a.pid)
			mark := w.mark()
			b := w.succeed("join", a, "http")
			w.wait(mark, a.pid, "sent", "conns")
			if stopped {
				w.signal(a, unix.SIGSTOP)
				w.stopped(a)
				w.wait(mark, b.pid, "sent", "taken")
			}
			w.signal(a, unix.SIGTERM)
			if stopped {
				w.signal(a, unix.SIGCONT)
			}
			for _, k := range ks { // what reads them reads them now
				if err := k.send("/token?"); err != nil {
					t.Errorf("connection %d: %v", k.id, err)
				}
			}
			for _, k := range ks {
				if pid, leave, err := k.reply(); err != nil || pid != b.pid || leave {
					t.Errorf("connection %d: answered by %d (the last answer: %t), %v; want pid %d", k.id, pid, leave, err, b.pid)
				}
			}
			w.ended(a)
			count(t, ks).allBy(t, b.pid, n)
		})
	}
}

// TestClosedWhileAnswering: the incumbent is told to stop for good while it answers requests, whose connections are to move
// afterwards. They do: before the successor serves or after, and also if part of the answer has been sent.
func TestClosedWhileAnswering(t *testing.T) {
	for _, early := range []bool{false, true} {
		t.Run(map[bool]string{false: "superseded", true: "before_confirm"}[early], func(t *testing.T) {
			t.Parallel()
			w, a := liveWorld(t, "tcp")
			target, open := w.gate()
			var slow []*lane
			for i := range 20 {
				k := w.connect(i)
				if err := k.send(target); err != nil {
					t.Fatal(err)
				}
				slow = append(slow, k)
			}
			w.connect(100).answeredBy(t, a.pid) // so theirs are under way
			mark := w.mark()
			var b *proc
			if early {
				b = w.succeed("join", a, "http")
				w.wait(mark, b.pid, "sent", "owned")
			} else {
				b = w.take("join", a, "http")
			}
			w.signal(a, unix.SIGTERM)
			for i := range 200 { // meanwhile it comes as far as it can
				w.connect(101+i).answeredBy(t, b.pid)
			}
			open()
			for _, k := range slow {
				if pid, leave, err := k.reply(); err != nil || pid != a.pid || leave {
					t.Errorf("connection %d: answered by %d (the last answer: %t), %v; want pid %d", k.id, pid, leave, err, a.pid)
				}
			}
			count(t, slow).allBy(t, b.pid, len(slow))
			w.ended(a)
		})
	}
}
