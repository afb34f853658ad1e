package integration

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

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
