package integration

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRescueOfWhomItIs: a successor owns, and hangs before it has said so. It is the one to be replaced, and not its
// predecessor, which guards it, and serves again by that.
func TestRescueOfWhomItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	w.conf.StepTimeout, w.conf.Probation = 500*time.Millisecond, 20*time.Second
	a := w.serving("tcp")
	w.conf.Fault = "stop sent owned"
	b := w.start("tcp")
	w.wait(0, b.pid, "fault", "")
	w.stopped(b)
	vs := come(t, w.addr, 3)
	w.conf.Fault, w.conf.Rescue, w.conf.Probation = "", "on", 0
	c := w.start("tcp")
	if e := w.wait(0, c.pid, "ready", ""); e.Err != "" {
		t.Fatalf("Ready of the rescuer: %s", e.Err)
	}
	w.ended(b)
	if s := b.state.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
		t.Errorf("the one that hangs ended with %v", b.state)
	}
	w.ended(a)
	if !a.state.Success() {
		t.Errorf("the healthy one ended with %v", a.state)
	}
	vs.answered(t, c.pid)
	for _, v := range lost(vs.leave()) {
		t.Errorf("lost: %v", v)
	}
	soleOwner(t, w.addr, c.pid)
}

// callInSilence connects to the rendezvous and says nothing. EAGAIN means that its queue is full.
func callInSilence(t *testing.T, path string) error {
	t.Helper()
	n, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(n) })
	return unix.Connect(n, &unix.SockaddrUnix{Name: path})
}

// TestRescueSilentCallers: however many call an incumbent and say nothing, it answers the one who speaks.
func TestRescueSilentCallers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	a := w.serving("tcp") // its patience is longer than that of the rescuer
	for range 300 {
		until(t, "there is room in the queue", func() bool {
			err := callInSilence(t, w.conf.Path)
			if err != nil && !errors.Is(err, unix.EAGAIN) {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	vs := come(t, w.addr, 3)
	w.conf.StepTimeout, w.conf.Rescue = 2*time.Second, "on"
	b := w.start("tcp")
	if e := w.wait(0, b.pid, "ready", ""); e.Err != "" {
		t.Fatalf("Ready of the successor: %s", e.Err)
	}
	w.ended(a)
	if !a.state.Success() {
		t.Errorf("the incumbent ended with %v", a.state)
	}
	vs.answered(t, b.pid)
	for _, v := range lost(vs.leave()) {
		t.Errorf("lost: %v", v)
	}
}

// until polls for what cannot be waited for.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// TestRescueNoDescriptors: an incumbent whose clients have used up its descriptors serves. It says so, and is left alone.
func TestRescueNoDescriptors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "tcp")
	w.conf.Start = "nofile=128"
	a := w.serving("tcp")
	var clients []net.Conn
	defer func() {
		for _, c := range clients {
			_ = c.Close()
		}
	}()
	for range 200 { // more than it can take, so that it is at its limit throughout
		c, err := net.DialTimeout("tcp", w.addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	// below counts the descriptors that the limit is about; an inherited one may have a higher number.
	below := func() (n int) {
		names, err := os.ReadDir("/proc/" + strconv.Itoa(a.pid) + "/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if fd, _ := strconv.Atoi(name.Name()); fd < 128 {
				n++
			}
		}
		return n
	}
	until(t, "all descriptors are in use", func() bool { return below() == 128 })
	w.conf.Start, w.conf.Rescue, w.conf.StepTimeout = "", "on", time.Second
	for range 3 {
		b := w.start("tcp")
		e := w.wait(0, b.pid, "join", "")
		if !strings.Contains(e.Err, "no file descriptor free") || !strings.Contains(e.Err, "RLIMIT_NOFILE") {
			t.Errorf("Join: %q", e.Err)
		}
		w.ended(b)
	}
	if !a.alive() {
		t.Fatal("the incumbent is dead")
	}
	for _, c := range clients {
		_ = c.Close()
	}
	until(t, "the clients have left", func() bool { return below() < 100 })
	faultCase{way: "join"}.goOn(t, w, a)
}
