package serve

import (
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/live"
)

// registrar is a listener as a generation's.
type registrar struct {
	net.Listener
	protocol string
	server   live.Server
}

func (r *registrar) Register(protocol string, s live.Server) func() {
	r.protocol, r.server = protocol, s
	return func() {}
}

// node is one generation that serves one listener.
type node struct {
	t   testing.TB
	ln  *registrar
	run *running
	live.Server
}

func newNode(t testing.TB, network string, s *http.Server, holds bool) *node {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = t.TempDir() + "/s"
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, ln: &registrar{Listener: ln}}
	gen := newFake(ln)
	gen.holds = holds
	n.run = start(gen, HTTP(s, n.ln))
	await(t, "a server that accepts", func() bool { return n.run.gen.readyCalls() == 1 })
	n.Server = n.ln.server
	if n.ln.protocol != protocol {
		t.Fatalf("registered for protocol %q", n.ln.protocol)
	}
	t.Cleanup(n.stop)
	return n
}

func (n *node) stop() {
	n.run.stop()
	<-n.run.done
	if n.run.err != nil {
		n.t.Errorf("Run: %v", n.run.err)
	}
}

func (n *node) dial() net.Conn {
	n.t.Helper()
	c, err := net.Dial(n.ln.Addr().Network(), n.ln.Addr().String())
	if err != nil {
		n.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute)) // a client that hangs has lost
	n.t.Cleanup(func() { _ = c.Close() })
	return c
}

// await waits for something that is to happen soon.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// ferry is a Departure that takes connections to another server of this process, as a successor would: a duplicate of
// the descriptor waits there until it is readable.
type ferry struct {
	t     *testing.T
	to    live.Server
	keep  func() bool // nil: none
	delay time.Duration
	left  time.Duration // not 0: what is left of the time of each
	park  *park
}

// park is where the duplicates wait, those of all ferries of a test.
type park struct {
	moves, kept, parked atomic.Int64
	tasks               sync.WaitGroup
	mu                  sync.Mutex
	states              []string // of the connections that moved, if wanted
	record              bool
}

func newPark(t *testing.T) *park {
	p := new(park)
	t.Cleanup(p.tasks.Wait)
	return p
}

func (f *ferry) Ask(conns []live.Conn) {
	for _, c := range conns {
		f.park.tasks.Go(func() {
			if c.Leave() {
				f.Move(c)
			}
		})
	}
}

func (f *ferry) Move(c live.Conn) bool {
	f.park.tasks.Go(func() {
		if f.delay > 0 {
			time.Sleep(f.delay)
		}
		if f.keep != nil && f.keep() {
			f.park.kept.Add(1)
			c.Kept()
			return
		}
		p := c.Position()
		if f.left > 0 {
			p.Expires = time.Now().Add(f.left)
		}
		dup, err := duplicate(c)
		if err != nil {
			f.t.Error(err)
			c.Kept()
			return
		}
		f.park.moves.Add(1)
		if f.park.record {
			f.park.mu.Lock()
			f.park.states = append(f.park.states, string(p.State))
			f.park.mu.Unlock()
		}
		c.Moved()
		f.park.tasks.Go(func() { f.wait(dup, p) })
	})
	return true
}

// wait parks c, and lets it arrive, as a lot would: if its time is up, only if a server has something to say of it.
func (f *ferry) wait(c net.Conn, p live.Position) {
	f.park.parked.Add(1)
	_ = c.SetReadDeadline(p.Expires)
	raw, err := c.(syscall.Conn).SyscallConn()
	if err == nil {
		err = raw.Read(readable)
	}
	f.park.parked.Add(-1)
	if err != nil && len(p.State) == 0 {
		_ = c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	f.to.Arrive(c, p)
}

// readable reports whether there is something to read, or the end.
func readable(fd uintptr) bool {
	var b [1]byte
	_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err != unix.EAGAIN
}

func duplicate(c syscall.Conn) (net.Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var dup int
	if e := raw.Control(func(fd uintptr) { dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		return nil, e
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(dup), "")
	defer f.Close()
	return net.FileConn(f)
}
