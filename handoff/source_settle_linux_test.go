package handoff_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/listener"
)

// settler is a source that is told when it is settled, and takes back what was no use.
type settler struct {
	source
	settled  chan handoff.Phase // in which phase
	returned []*listener.FD
}

func (s *settler) Settled() { s.settled <- s.phases[len(s.phases)-1] }

func (s *settler) Return(fd *listener.FD) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.returned = append(s.returned, fd)
}

// TestSettledFirst settles at once what has no predecessor.
func TestSettledFirst(t *testing.T) {
	src := &settler{settled: make(chan handoff.Phase, 2)}
	c := config(t, rendezvous(t))
	c.Sources = []handoff.Source{src}
	g := join(t, c)
	pending(t, "settled before Ready", src.settled)
	ready(t, g)
	if p := result(t, "Settled", src.settled); p != handoff.PhaseServing {
		t.Errorf("settled when %s", p)
	}
	shut(t, g)
	pending(t, "settled twice", src.settled)
}

// TestSettledAfterGuard settles once nothing can go back to the predecessor: not when the successor serves.
func TestSettledAfterGuard(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(t *testing.T, a, b *handoff.Generation, c handoff.Config)
		want bool
	}{
		{"the next one takes over", func(t *testing.T, _, b *handoff.Generation, c handoff.Config) {
			c.Sources = nil
			next := join(t, c)
			listen(t, next, "tcp", "127.0.0.1:0")
			ready(t, next)
			superseded(t, b)
		}, true},
		{"the predecessor ends", func(t *testing.T, a, _ *handoff.Generation, _ handoff.Config) { shut(t, a) }, true},
		{"handed back", func(t *testing.T, a, b *handoff.Generation, _ handoff.Config) {
			if err := b.Fail(errors.New("broken")); err != nil {
				t.Error(err)
			}
			awaitPhase(t, a, handoff.PhaseServing)
		}, false},
		{"closed", func(t *testing.T, _, b *handoff.Generation, _ handoff.Config) { shut(t, b) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(t, rendezvous(t))
			c.Guard = time.Minute
			a, _ := first(t, c)
			src := &settler{settled: make(chan handoff.Phase, 2)}
			c.Sources = []handoff.Source{src}
			b := join(t, c)
			listen(t, b, "tcp", "127.0.0.1:0")
			ready(t, b)
			superseded(t, a)
			pending(t, "settled within the guard", src.settled)
			tt.end(t, a, b, c)
			if tt.want {
				result(t, "Settled", src.settled)
			} else {
				pending(t, "settled", src.settled)
			}
		})
	}
}

// TestSourceReturn gives back what cannot be listened on, usable as before.
func TestSourceReturn(t *testing.T) {
	give := func(t *testing.T, src *settler, network string) *listener.FD {
		t.Helper()
		var fd *listener.FD
		if network == "udp" {
			c, err := net.ListenPacket("udp", "127.0.0.1:0")
			must(t, err)
			defer c.Close()
			fd, err = listener.Dup(c.(*net.UDPConn))
			must(t, err)
		} else {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer l.Close()
			fd, err = listener.Dup(l.(*net.TCPListener))
			must(t, err)
		}
		src.fds = map[string][]*listener.FD{"a": {fd}}
		return fd
	}
	back := func(t *testing.T, src *settler, fd *listener.FD) {
		t.Helper()
		if len(src.returned) != 1 || src.returned[0] != fd {
			t.Fatalf("returned %v, want %v", src.returned, fd)
		}
		if _, err := listener.Describe(fd); err != nil {
			t.Error(err)
		}
		must(t, fd.Close())
	}
	t.Run("unfit", func(t *testing.T) {
		src := &settler{}
		c := config(t, "")
		c.Sources = []handoff.Source{src}
		g := join(t, c)
		fd := give(t, src, "udp")
		if _, err := g.ListenAs(bounded(t), "a", "tcp", "127.0.0.1:0", nil); !errors.Is(err, listener.ErrSocketType) {
			t.Errorf("listen: %v", err)
		}
		back(t, src, fd)
	})
	t.Run("no descriptors", func(t *testing.T) {
		src := &settler{settled: make(chan handoff.Phase, 1)}
		c := config(t, "")
		c.Sources = []handoff.Source{src}
		g := join(t, c)
		ready(t, g)
		fd := give(t, src, "tcp")
		var limit unix.Rlimit
		must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 4, Max: limit.Max}))
		_, err := g.ListenAs(bounded(t), "a", "tcp", "127.0.0.1:0", nil)
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
		if !errors.Is(err, unix.EMFILE) {
			t.Errorf("listen: %v", err)
		}
		back(t, src, fd)
	})
	t.Run("used", func(t *testing.T) {
		src := &settler{}
		c := config(t, "")
		c.Sources = []handoff.Source{src}
		g := join(t, c)
		fd := give(t, src, "tcp")
		listenAs(t, g, "a", "tcp", "127.0.0.1:0")
		if err := fd.Control(func(uintptr) {}); !errors.Is(err, net.ErrClosed) || src.returned != nil {
			t.Errorf("one copy too many: %v, returned %v", err, src.returned)
		}
	})
}
