package listener

import (
	"errors"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAcceptWithoutDescriptors: a want of descriptors is told when a client waits, and not of an empty queue, where a pause
// would turn it up.
func TestAcceptWithoutDescriptors(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0", Options{})
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(client)
	must(t, l.Open())

	restore := limitFiles(t, 0)
	call := accept(t, l)
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		l.gate.mu.Lock()
		resting := l.gate.changed != nil
		l.gate.mu.Unlock()
		if resting || time.Now().After(deadline) {
			break
		}
	}
	select {
	case got := <-call:
		restore()
		t.Fatalf("nobody waits, and Accept returned %v, %v", got.conn, got.err)
	default:
	}
	must(t, l.Pause())
	must(t, l.Open())
	port := l.Addr().(*net.TCPAddr).Port
	must(t, unix.Connect(client, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
	got := within(t, "Accept", call)
	restore()
	if !errors.Is(got.err, unix.EMFILE) {
		t.Fatalf("a client waits, and Accept returned %v, %v", got.conn, got.err)
	}
	c, err := l.Accept()
	must(t, err)
	must(t, c.Close())
}
