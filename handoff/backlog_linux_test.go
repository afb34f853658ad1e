package handoff_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/sockdiag"
	"github.com/segue-go/segue/listener"
)

// inNetNS runs f on a thread in a network namespace of its own, whose somaxconn f may set. Sockets that f makes are there.
func inNetNS(t *testing.T, f func(somaxconn func(int))) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI runs as root")
		}
		t.Skip("needs root, for a network namespace of its own")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked, so that the thread ends
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		f(func(n int) {
			if err := os.WriteFile("/proc/sys/net/core/somaxconn", []byte(strconv.Itoa(n)), 0); err != nil {
				t.Errorf("somaxconn: %v", err)
			}
		})
	}()
	<-done
}

// opened runs f with a bare descriptor of c.
func opened(t *testing.T, c syscall.Conn, f func(fd int) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var opErr error
	if err := raw.Control(func(fd uintptr) { opErr = f(int(fd)) }); err != nil || opErr != nil {
		t.Fatal(err, opErr)
	}
}

// backlog is how many connections may wait in l's queue, as TCP_INFO says of a listening socket (tcp_get_info in
// net/ipv4/tcp.c).
func backlog(t *testing.T, l net.Listener) (n int) {
	t.Helper()
	opened(t, l.(syscall.Conn), func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n = int(info.Sacked)
		}
		return err
	})
	return n
}

// lengthOf is backlog, for Unix listeners too.
func lengthOf(t *testing.T, l net.Listener) int {
	t.Helper()
	if l.Addr().Network() == "tcp" {
		return backlog(t, l)
	}
	i, err := listener.Describe(l.(syscall.Conn))
	if err != nil {
		t.Fatal(err)
	}
	n, err := sockdiag.Backlog(uint32(i.Ino))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// room is how many connections a Unix listener's queue takes; nobody accepts meanwhile.
func room(t *testing.T, network, path string) int {
	t.Helper()
	typ := map[string]int{"unix": unix.SOCK_STREAM, "unixpacket": unix.SOCK_SEQPACKET}[network]
	for n := 0; ; n++ {
		fd, err := unix.Socket(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			if !errors.Is(err, unix.EAGAIN) {
				t.Fatal(err)
			}
			return n
		}
	}
}

// listens calls listen(2) as a program may.
func listens(t *testing.T, l net.Listener, n int) {
	t.Helper()
	opened(t, l.(syscall.Conn), func(fd int) error { return unix.Listen(fd, n) })
}

// TestBacklogFollows: each owner listens again, with what somaxconn allows by then.
func TestBacklogFollows(t *testing.T) {
	for _, multipath := range []bool{false, true} {
		t.Run("multipath="+strconv.FormatBool(multipath), func(t *testing.T) {
			inNetNS(t, func(somaxconn func(int)) {
				path := rendezvous(t)
				c := config(t, path)
				c.ListenConfig.SetMultipathTCP(multipath)
				somaxconn(5)
				var old *handoff.Generation
				address := ":0"
				for generation, allowed := range []int{5, 70, 30, 30} {
					somaxconn(allowed)
					g := join(t, c)
					l := listen(t, g, "tcp", address)
					if old != nil {
						if got := backlog(t, l); got != []int{5, 5, 70, 30}[generation] {
							t.Errorf("generation %d: the backlog is %d before it owns", generation, got)
						}
						supersede(t, old, g)
					} else {
						ready(t, g)
					}
					old = g
					if got := backlog(t, l); got != allowed {
						t.Errorf("generation %d: the backlog is %d, want %d", generation, got, allowed)
					}
				}
			})
		})
	}
}

// TestBacklogFollowsUnix: the same for Unix sockets, whose queue has room for one more than the backlog.
func TestBacklogFollowsUnix(t *testing.T) {
	for _, network := range []string{"unix", "unixpacket"} {
		t.Run(network, func(t *testing.T) {
			inNetNS(t, func(somaxconn func(int)) {
				path := rendezvous(t)
				sock := filepath.Join(filepath.Dir(path), "web")
				somaxconn(5)
				a := join(t, config(t, path))
				listen(t, a, network, sock)
				ready(t, a)
				somaxconn(40)
				b := join(t, config(t, path))
				listen(t, b, network, sock)
				supersede(t, a, b)
				if got := room(t, network, sock); got != 41 {
					t.Errorf("the queue has room for %d, want 41", got)
				}
			})
		})
	}
}

// given is a Source with one socket, made by somebody else.
type given struct {
	handoff.BaseSource
	fd *listener.FD
}

func (s *given) Open(context.Context, string, string, string) (*listener.FD, error) {
	fd := s.fd
	s.fd = nil
	return fd, nil
}

// TestBacklogOfOthers: what came from a Source, or what the program has set itself, stays, over generations.
func TestBacklogOfOthers(t *testing.T) {
	t.Run("source", func(t *testing.T) {
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer inner.Close()
		listens(t, inner, 7)
		fd, err := listener.Dup(inner.(syscall.Conn))
		if err != nil {
			t.Fatal(err)
		}
		path := rendezvous(t)
		c := config(t, path)
		c.Sources = []handoff.Source{&given{fd: fd}}
		var old *handoff.Generation
		for generation := range 3 {
			g := join(t, c)
			l := listen(t, g, "tcp", inner.Addr().String())
			if old == nil {
				ready(t, g)
			} else {
				supersede(t, old, g)
			}
			if got := backlog(t, l); got != 7 {
				t.Errorf("generation %d: the backlog is %d, want its maker's, 7", generation, got)
			}
			old, c.Sources = g, nil
		}
	})
	for _, network := range []string{"tcp", "unix"} {
		t.Run("program/"+network, func(t *testing.T) {
			path := rendezvous(t)
			address := map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(filepath.Dir(path), "web")}
			bind := func(g *handoff.Generation) (own, kept net.Listener) {
				own = listen(t, g, network, address[network])
				return own, listen(t, g, network, strings.Replace(address[network], "web", "other", 1))
			}
			a := join(t, config(t, path))
			_, kept := bind(a)
			listens(t, kept, 7)
			ready(t, a)
			b := join(t, config(t, path))
			own, kept := bind(b)
			listens(t, own, 9) // in the way in which it does at each start
			supersede(t, a, b)
			if got := lengthOf(t, own); got != 9 {
				t.Errorf("the backlog is %d, want what this program has set, 9", got)
			}
			if got := lengthOf(t, kept); got != 7 {
				t.Errorf("the backlog is %d, want what the last program had set, 7", got)
			}
		})
	}
}

// TestBacklogOfFailedSuccessor: what a successor's program has set, and what it does not come to own, is undone.
func TestBacklogOfFailedSuccessor(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			path := rendezvous(t)
			address := map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(filepath.Dir(path), "web")}[network]
			a := join(t, config(t, path))
			l := listen(t, a, network, address)
			listens(t, l, 7)
			ready(t, a)
			b := join(t, config(t, path))
			listens(t, listen(t, b, network, address), 9)
			shut(t, b)
			awaitPhase(t, a, handoff.PhaseServing)
			eventually(t, "the backlog is as before", func() bool { return lengthOf(t, l) == 7 })
		})
	}
}

// TestBacklogComesBack: who is revived has its queues as before.
func TestBacklogComesBack(t *testing.T) {
	inNetNS(t, func(somaxconn func(int)) {
		path := rendezvous(t)
		c := config(t, path)
		c.Guard = patience
		somaxconn(50)
		a := join(t, c)
		l := listen(t, a, "tcp", ":0")
		own := listen(t, a, "tcp", ":0")
		listens(t, own, 7)
		ready(t, a)
		b := join(t, c)
		listen(t, b, "tcp", ":0")
		listens(t, listen(t, b, "tcp", ":0"), 9)
		somaxconn(60)
		ready(t, b)
		awaitPhase(t, a, handoff.PhaseDraining)
		if got := backlog(t, l); got != 60 {
			t.Errorf("the backlog is %d once the successor owns, want 60", got)
		}
		if err := b.Fail(errors.New("unwell")); err != nil {
			t.Fatalf("Fail: %v", err)
		}
		awaitPhase(t, a, handoff.PhaseServing)
		// The phase is that of the table; the sockets follow.
		eventually(t, "the backlog is as before", func() bool { return backlog(t, l) == 60 })
		eventually(t, "the backlog that the program had set is as before", func() bool { return backlog(t, own) == 7 })
	})
}
