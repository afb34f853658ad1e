package live

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// Lot is where connections from the predecessor are parked until their clients say something or their time is up: bare
// descriptors in one epoll instance. A parked connection costs no goroutine and no buffer, but about a hundred bytes.
// Make one with [NewLot], end it with Close. Its methods may be called concurrently.
type Lot struct {
	arrive func(Key, net.Conn, Position)
	base   time.Time // times of spots count from here

	mu      sync.Mutex
	epoll   *listener.FD  // nil before the first Park
	wakeFD  *listener.FD  // an eventfd in epoll that wakes the watcher
	done    chan struct{} // closed when the watcher has ended
	closed  bool
	spots   spots
	dues    dues
	wakes   time.Duration       // when the watcher looks at what is due; 0: only when it is woken
	retried int                 // spots that are tried again
	again   time.Duration       // when
	used    tally               // connections that are parked, or about to arrive
	out     tally               // those that are about to
	leave   func(Key) Departure // nil: nobody leaves
	evicts  bool                // see Evict
	keys    map[Key]*Key        // one pointer for all spots of a key
}

const (
	// maxEvents is how many are taken out at once.
	maxEvents = 128
	// retryAfter is how long to wait for descriptors.
	retryAfter = 50 * time.Millisecond
)

// NewLot returns a lot whose connections are given to arrive when they have something to read, or have ended, or their time is
// up and they have a State. arrive may block; nothing else arrives meanwhile.
func NewLot(arrive func(Key, net.Conn, Position)) *Lot {
	return &Lot{arrive: arrive, base: time.Now(), keys: make(map[Key]*Key)}
}

// Park takes fds, connections of k that stand at ps. It calls ack, which tells the predecessor, once all are parked and
// before any of them is read from or moves on. On error, which may be ack's, fds stay the caller's.
func (l *Lot) Park(k Key, fds []*listener.FD, ps []Position, ack func() error) error {
	if len(fds) > wire.MaxConns || len(fds) != len(ps) {
		return fmt.Errorf("live: park %d connections with %d positions: %w", len(fds), len(ps), unix.EINVAL)
	}
	parked, err := l.enter(k, fds, ps)
	if err != nil {
		return err
	}
	err = ack() // without mu: it may take a while
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
	case err != nil:
		l.withdraw(parked)
	default:
		l.release(k, parked)
	}
	return err
}

// enter parks connections as such that are moving: nobody reads from them.
func (l *Lot) enter(k Key, fds []*listener.FD, ps []Position) ([]int32, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.start(); err != nil {
		return nil, err
	}
	key := l.keys[k]
	if key == nil {
		key = &k
		l.keys[k] = key
	}
	parked := make([]int32, len(fds))
	for i, fd := range fds {
		parked[i] = l.spots.occupy(spot{fd: fd, key: key, state: string(ps[i].State), expires: l.since(ps[i].Expires), moving: true})
	}
	l.used.add(len(fds))
	if l.leave != nil && l.leave(k) != nil {
		return parked, nil // they move on at once
	}
	err := l.watch(fds, parked)
	if err != nil {
		l.withdraw(parked)
	}
	return parked, err
}

// withdraw undoes enter, and leaves the descriptors to the caller. Callers hold mu.
func (l *Lot) withdraw(parked []int32) {
	for _, i := range parked {
		l.unwatch(i)
		l.vacate(i)
	}
	l.used.add(-len(parked))
}

// release ends what enter began: they wait for their clients, or move on. Callers hold mu.
func (l *Lot) release(k Key, parked []int32) {
	var d Departure
	if l.leave != nil {
		d = l.leave(k)
	}
	for _, i := range parked {
		if d == nil || !d.Move(l.conn(i)) {
			l.rewatch(i)
		}
	}
	l.schedule()
}

// Empty returns a channel that is closed once nothing is parked or about to arrive.
func (l *Lot) Empty() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used.wait()
}

// Arrived returns a channel that is closed once nothing is about to arrive: whatever was neither to be asked by the departure in
// force nor given to it has been given to arrive then.
func (l *Lot) Arrived() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.wait()
}

// Close closes everything that is parked, and waits until nothing arrives any more.
func (l *Lot) Close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	for _, s := range l.spots.all() {
		_ = s.fd.Close()
	}
	l.spots, l.dues, l.retried = spots{}, nil, 0
	l.used.add(-l.used.n)
	done := l.done
	l.wake()
	l.mu.Unlock()
	if done != nil {
		<-done
	}
}

// start makes the epoll instance and its watcher. Callers hold mu.
func (l *Lot) start() error {
	if l.closed {
		return net.ErrClosed
	}
	if l.epoll != nil {
		return nil
	}
	n, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	epoll := listener.NewFD(n)
	if n, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		_ = epoll.Close()
		return os.NewSyscallError("eventfd", err)
	}
	l.epoll, l.wakeFD = epoll, listener.NewFD(n)
	if err := l.watch([]*listener.FD{l.wakeFD}, []int32{wakeSpot}); err != nil {
		_ = l.wakeFD.Close()
		_ = epoll.Close()
		l.epoll = nil
		return err
	}
	l.done = make(chan struct{})
	var reserve spares
	reserve.refill()
	go l.run(&reserve)
	return nil
}

// run is the watcher: it takes connections out of their spots, and lets them arrive one after the other. A thread waits in
// epoll_wait(2) for it: an epoll instance that is itself watched, by the runtime's poller, takes longer to add to
// (fs/eventpoll.c: do_epoll_ctl, full_check).
//
// It takes reserve.
func (l *Lot) run(reserve *spares) {
	defer close(l.done)
	defer l.epoll.Close()
	defer l.wakeFD.Close()
	defer reserve.close()
	_ = l.epoll.Control(func(epoll uintptr) {
		events := make([]unix.EpollEvent, maxEvents)
		for {
			// What it returns may have left its spot by the time that the lock is taken. So this only waits.
			_, err := unix.EpollWait(int(epoll), events[:1], l.patience())
			if err != nil && !errors.Is(err, unix.EINTR) {
				return // cannot happen
			}
			ready, ok := l.ready(int(epoll), events)
			if !ok {
				return
			}
			for _, a := range ready {
				l.deliver(a, reserve)
			}
		}
	})
}

// patience is for how many milliseconds the watcher waits; -1 is for ever.
func (l *Lot) patience() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wakes == 0 {
		return -1
	}
	const day = 24 * time.Hour // epoll_wait(2) takes an int
	d := min(max(l.wakes-time.Since(l.base), 0), day)
	return int((d + time.Millisecond - 1) / time.Millisecond)
}

// wake wakes the watcher. Callers hold mu.
func (l *Lot) wake() {
	_ = l.wakeFD.Control(func(n uintptr) {
		_, _ = unix.Write(int(n), []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
}

// deliver makes a connection of what was parked.
func (l *Lot) deliver(a arrival, reserve *spares) {
	c, err := listener.ConnFromFD(a.fd)
	if exhausted(err) {
		reserve.close()
		c, err = listener.ConnFromFD(a.fd)
		reserve.refill()
	}
	l.mu.Lock()
	closed := l.closed
	retry := exhausted(err)
	if retry && !closed {
		l.postpone(a)
		l.out.add(-1)
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	switch {
	case err != nil:
		_ = a.fd.Close() // most likely reset by the client
	case closed:
		_ = c.Close()
	default:
		l.arrive(*a.key, c, a.pos)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.add(-1)
	if !l.closed {
		l.used.add(-1)
	}
}

// exhausted reports whether err says that descriptors, or memory for them, have run out.
func exhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
}

// spares are the two descriptors that a connection needs for a moment while it is made: otherwise what is parked would
// starve while a program without any left goes on serving what it has accepted.
type spares [2]*listener.FD

// refill opens what is not there. It is tried again the next time if it fails.
func (s *spares) refill() {
	for i := range s {
		if s[i] != nil {
			continue
		}
		if n, err := unix.Eventfd(0, unix.EFD_CLOEXEC); err == nil {
			s[i] = listener.NewFD(n)
		}
	}
}

func (s *spares) close() {
	for i := range s {
		_ = s[i].Close()
		s[i] = nil
	}
}
