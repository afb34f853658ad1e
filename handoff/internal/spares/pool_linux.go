package spares

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

const (
	// handover is what a handover takes at most: to start a successor (Spawn), or to accept one that calls; its pidfd and what
	// watches it; the token; and some for sections of state.
	handover = 24
	// Spawn is what it takes at once to start a successor: two pairs of pipes, the socket pair, and what package os needs in
	// between.
	Spawn = 16
	// Caller is how many of those must be left by callers, who may be many, for the one with whom a handover begins.
	Caller = 6
)

// Pool has descriptors that a generation keeps so that it can hand over when its clients have all others: just then an
// operator must be able to upgrade. They are good for nothing but to be closed when others are needed. Until these are open,
// nobody else of segue uses the numbers; the program may be quicker, and therefore there are some more than needed.
//
// The zero value has none. Its methods may be called concurrently.
type Pool struct {
	// Alone calls f, and keeps the sockets of this process from accepting meanwhile: they would take the descriptors that are
	// set free for f. Nil: f is just called. It is set before the first use.
	Alone func(f func())

	mu     sync.Mutex
	fds    []*listener.FD
	want   int
	closed bool
}

// Fill opens what is missing, of as many as a handover of n sockets and sections takes beside the rest; but never more than
// a quarter of what this process may have.
func (p *Pool) Fill(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	p.want = min(handover+n, int(min(limit.Cur, 1<<30)/4))
	p.refill()
}

// refill is Fill for who holds mu.
func (p *Pool) refill() {
	for !p.closed && len(p.fds) < p.want {
		fd := newSpare()
		if fd == nil {
			return
		}
		p.fds = append(p.fds, fd)
	}
}

func newSpare() *listener.FD {
	n, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil
	}
	return listener.NewFD(n)
}

// Do calls op, which needs n descriptors, and again as long as it fails for want of them and there are more spares than keep.
// op must be short, wait for nothing, take no lock that Alone takes, and leave nothing behind when it fails. While there are
// descriptors it is just called.
func (p *Pool) Do(n, keep int, op func() error) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed || len(p.fds) <= keep || !Lacking(n):
		return op()
	case p.Alone == nil:
		return p.freeFor(n, keep, op)
	}
	p.Alone(func() { err = p.freeFor(n, keep, op) })
	return err
}

// freeFor is Do where descriptors are lacking. Callers hold mu.
func (p *Pool) freeFor(n, keep int, op func() error) error {
	for {
		left := len(p.fds)
		p.free(n, keep)
		err := op()
		if !OutOfDescriptors(err) || len(p.fds) == left {
			p.refill()
			return err
		}
	}
}

// OutOfDescriptors reports whether err is that this process, or the system, has no descriptors left.
func OutOfDescriptors(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)
}

// Lacking reports whether n descriptors cannot be opened.
func Lacking(n int) bool {
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
func (p *Pool) free(n, keep int) {
	probes := probe(n)
	for missing := n - len(probes); missing > 0 && len(p.fds) > keep; missing-- {
		p.closeOne()
	}
	closeAll(probes)
}

// closeOne closes one. Callers hold mu.
func (p *Pool) closeOne() {
	last := len(p.fds) - 1
	_ = p.fds[last].Close()
	p.fds = p.fds[:last]
}

// Last calls f, which opens one descriptor when one of the spares is closed, and may return another instead.
func (p *Pool) Last(f func() *listener.FD) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.fds) == 0 {
		return
	}
	p.closeOne()
	if fd := f(); fd != nil {
		p.fds = append(p.fds, fd)
	}
	p.refill()
}

// Close closes them all, and keeps none from then on.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for len(p.fds) > 0 {
		p.closeOne()
	}
}
