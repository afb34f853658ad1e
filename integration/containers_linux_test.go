package integration

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestContainers hands over between servers that share nothing but a directory, as two containers do: each is process 1 of a
// PID namespace of its own, with mounts of its own, and in the same network namespace or another one. The first one ends, and
// nobody is lost; where the network is another one, the log of the second says what that means. Then a third one takes over.
func TestContainers(t *testing.T) {
	needRoot(t, "to make namespaces")
	for name, flags := range map[string][]string{
		"same network":    {"--mount", "--uts", "--ipc"},
		"another network": {"--mount", "--uts", "--ipc", "--net"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const told = "a socket stays in another network namespace"
			w := newWorld(t, "tcp")
			first := enterBy(t, w, flags[:3])
			await(t, "the server", func() bool { return call(w.addr).err == nil })
			vs := come(t, w.addr, 3)
			second := enterBy(t, w, flags)
			second.says(`"Ev":"ready"`)
			if len(flags) > 3 {
				second.says(told)
			} else if second.hears(told) {
				t.Error("it is said to be another network namespace")
			}
			first.over()
			third := enterBy(t, w, flags[:3])
			third.says(`"Ev":"ready"`)
			second.over()
			if third.hears(told) {
				t.Error("the third one is told of another network namespace, although it is in that of the sockets")
			}
			for _, v := range lost(vs.leave()) {
				t.Errorf("lost: %v", v)
			}
			if err := unix.Kill(third.init, unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			third.over()
		})
	}
}

// over waits for its process 1 to end well.
func (n *inner) over() {
	n.t.Helper()
	select {
	case err := <-n.ended:
		if err != nil {
			n.t.Errorf("process 1 ended with %v", err)
		}
	case <-time.After(patience):
		n.t.Fatal("process 1 does not end")
	}
}
