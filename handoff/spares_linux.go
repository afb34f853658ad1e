package handoff

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

const (
	// spareDescriptors is what a handover takes at most: to start a successor (spawnDescriptors), or to accept one that
	// calls; its pidfd and what watches it; the token; and some for sections of state.
	spareDescriptors = 24
	// spawnDescriptors is what it takes at once to start a successor: two pairs of pipes, the socket pair, and what package
	// os needs in between.
	spawnDescriptors = 16
	// callerDescriptors is how many of those must be left by callers, who may be many, for the one with whom a handover
	// begins.
	callerDescriptors = 6
)

// spares are descriptors that a generation keeps so that it can hand over when its clients have all others: just then an
// operator must be able to upgrade. They are good for nothing but to be closed when others are needed. Until these are open,
// nobody else of segue uses the numbers; the program may be quicker, and therefore there are some more than needed.
//
// The zero value has none. Its methods may be called concurrently.
type spares struct {
	mu     sync.Mutex
	fds    []*listener.FD
	want   int
	closed bool
}

// fill opens what is missing, of as many as a handover of n sockets and sections takes beside the rest; but never more than
// a quarter of what this process may have.
func (s *spares) fill(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	s.want = min(spareDescriptors+n, int(min(limit.Cur, 1<<30)/4))
	s.refill()
}

// refill is fill for who holds mu.
func (s *spares) refill() {
	for !s.closed && len(s.fds) < s.want {
		fd := newSpare()
		if fd == nil {
			return
		}
		s.fds = append(s.fds, fd)
	}
}

func newSpare() *listener.FD {
	n, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil
	}
	return listener.NewFD(n)
}

// do calls op, which needs n descriptors, and again as long as it fails for want of them and there are more spares than keep.
// op must be short, wait for nothing, take no lock of the generation, and leave nothing behind when it fails. While there are
// descriptors it is just called.
func (s *spares) do(g *Generation, n, keep int, op func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.fds) <= keep || !lacking(n) {
		return op()
	}
	defer g.holdAccepting()()
	for {
		left := len(s.fds)
		s.free(n, keep)
		err := op()
		if !outOfDescriptors(err) || len(s.fds) == left {
			s.refill()
			return err
		}
	}
}

// holdAccepting keeps the sockets of a generation that owns from taking the descriptors that are set free for somebody else,
// until release is called. No switch begins meanwhile.
func (g *Generation) holdAccepting() (release func()) {
	g.mu.Lock()
	if !g.phase.owner() {
		return g.mu.Unlock
	}
	var held []*listener.Listener
	for _, r := range g.claimed {
		if l, ok := r.sock.(*listener.Listener); ok && l.Pause() == nil {
			held = append(held, l)
		}
	}
	return func() {
		for _, l := range held {
			_ = l.Open() // it takes no descriptor, and the error is that it was closed
		}
		g.mu.Unlock()
	}
}

// lacking reports whether n descriptors cannot be opened.
func lacking(n int) bool {
	probes := probe(n)
	closeAll(probes)
	return len(probes) < n
}

func probe(n int) (probes []*listener.FD) {
	for len(probes) < n {
		fd := newSpare()
		if fd == nil {
			break
		}
		probes = append(probes, fd)
	}
	return probes
}

func closeAll(fds []*listener.FD) {
	for _, fd := range fds {
		_ = fd.Close()
	}
}

// free sees to it that n descriptors can be opened. Callers hold mu.
func (s *spares) free(n, keep int) {
	probes := probe(n)
	for missing := n - len(probes); missing > 0 && len(s.fds) > keep; missing-- {
		s.drop()
	}
	closeAll(probes)
}

// drop closes one. Callers hold mu.
func (s *spares) drop() {
	last := len(s.fds) - 1
	_ = s.fds[last].Close()
	s.fds = s.fds[:last]
}

// last calls f, which opens one descriptor when one of the spares is closed, and may return another instead.
func (s *spares) last(f func() *listener.FD) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.fds) == 0 {
		return
	}
	s.drop()
	if fd := f(); fd != nil {
		s.fds = append(s.fds, fd)
	}
	s.refill()
}

func (s *spares) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for len(s.fds) > 0 {
		s.drop()
	}
}

// fillSpares keeps descriptors for a handover of what this generation has now.
func (g *Generation) fillSpares() {
	g.mu.Lock()
	n := len(g.sections)
	if g.cfg.Transport == TransportPidfd {
		n += len(g.claimed) // copies that the successor takes; otherwise they are sent if there is no room
	}
	g.mu.Unlock()
	g.spares.fill(n)
}
