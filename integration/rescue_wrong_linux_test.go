package integration

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// TestRescueAfterOwned: the owner hangs right after it has become that. It is the one that is killed, and not its
// predecessor, which still guards it.
func TestRescueAfterOwned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	w.conf.StepTimeout = 30 * time.Second
	a := w.serving("tcp")
	w.conf.Probation, w.conf.Fault = 20*time.Second, "stop sent owned"
	b := w.start("tcp")
	w.wait(0, b.pid, "fault", "")
	w.stopped(b)
	vs := come(t, w.addr, 3)
	w.conf.Probation, w.conf.Fault = 0, ""
	w.conf.StepTimeout, w.conf.Rescue = 500*time.Millisecond, "on"
	c := w.start("tcp")
	if e := w.wait(0, c.pid, "ready", ""); e.Err != "" {
		t.Fatalf("Ready of the rescuer: %s", e.Err)
	}
	w.ended(b)
	w.await(0, "revival", of(a.pid, "log", "this generation serves again"))
	vs.answered(t, c.pid)
	for _, v := range lost(vs.leave()) {
		t.Errorf("lost: %v", v)
	}
	w.ended(a)
	soleOwner(t, w.addr, c.pid)
}

// TestIncumbentWithoutDescriptors: an incumbent that cannot accept any more, because its clients have all descriptors, and
// callers who say nothing those that it keeps for them, says so to who calls, and is not taken for dead.
func TestIncumbentWithoutDescriptors(t *testing.T) {
	t.Parallel()
	w, a := liveWorld(t, "tcp")
	w.conf.Start = "nofile=40"
	b := w.take("join", a, "http")
	w.ended(a)
	w.conf.Start = ""
	var clients []net.Conn
	for range 50 {
		c, err := net.DialTimeout("tcp", w.addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		clients = append(clients, c)
	}
	w.opens(b, 39, 100)
	for range 10 {
		if err := callInSilence(t, w.conf.Path); err != nil {
			t.Fatal(err)
		}
	}
	w.wait(0, b.pid, "log", "a caller was turned away")
	w.conf.StepTimeout, w.conf.Rescue = 500*time.Millisecond, "on"
	c := w.start("http")
	e := w.wait(0, c.pid, "join", "")
	if !strings.Contains(e.Err, "RLIMIT_NOFILE") || !strings.Contains(e.Is, "aborted") {
		t.Errorf("Join: %q, errors.Is says %q", e.Err, e.Is)
	}
	w.ended(c)
	if !b.alive() {
		t.Fatal("the incumbent is dead")
	}
	for _, c := range clients {
		_ = c.Close()
	}
	w.opens(b, 0, 25)
	w.connect(0).answeredBy(t, b.pid)
	w.take("join", b, "http")
}

// opens waits until a process has between least and most descriptors.
func (w *world) opens(p *proc, least, most int) {
	w.t.Helper()
	for since := time.Now(); ; time.Sleep(time.Millisecond) {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
		if err == nil && len(open) >= least && len(open) <= most {
			return
		}
		if time.Since(since) > patience {
			w.t.Fatalf("pid %d has %d descriptors, %v", p.pid, len(open), err)
		}
	}
}
