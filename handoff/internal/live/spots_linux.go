package live

import (
	"container/heap"
	"errors"
	"iter"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// spot is a parked connection. All that is done to spots needs the lot's mutex.
type spot struct {
	fd      *listener.FD // nil: free
	key     *Key
	state   string
	expires time.Duration // since the lot's base; 0: never
	due     int32         // its place in dues, plus 1; 0: not there
	uses    uint32        // how often it was vacated
	moving  bool          // it has left by a Departure, which has not decided yet; or Park waits for its ack
	polled  bool          // it is in the epoll instance
}

// spots are numbered from 0. They are in blocks, which never move: a slice that grows would leave its former selves to the
// garbage collector in the midst of a move. The zero value has none.
type spots struct {
	blocks []*[blockLen]spot
	n      int32   // how many have ever been occupied
	free   []int32 // those that hold nothing, the last one to be taken next
}

const blockLen = 256

func (s *spots) at(i int32) *spot { return &s.blocks[i/blockLen][i%blockLen] }

// occupy finds a place for c.
func (s *spots) occupy(c spot) int32 {
	i := s.n
	if n := len(s.free); n > 0 {
		i = s.free[n-1]
		s.free = s.free[:n-1]
		c.uses = s.at(i).uses
	} else {
		if int(i) == len(s.blocks)*blockLen {
			s.blocks = append(s.blocks, new([blockLen]spot))
		}
		s.n++
	}
	*s.at(i) = c
	return i
}

// vacate empties a spot, and gives the descriptor to the caller.
func (s *spots) vacate(i int32) *listener.FD {
	old := s.at(i)
	fd := old.fd
	*old = spot{uses: old.uses + 1}
	s.free = append(s.free, i)
	return fd
}

// all are those that are occupied.
func (s *spots) all() iter.Seq2[int32, *spot] {
	return func(yield func(int32, *spot) bool) {
		for i := range s.n {
			if at := s.at(i); at.fd != nil && !yield(i, at) {
				return
			}
		}
	}
}

// arrival is what has left its spot, to become a connection.
type arrival struct {
	fd  *listener.FD
	key *Key
	pos Position
}

// since makes a time one of a spot's.
func (l *Lot) since(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(t.Sub(l.base), 1) // 0 is never
}

func (l *Lot) position(i int32) Position {
	s := l.spots.at(i)
	p := Position{}
	if s.expires > 0 {
		p.Expires = l.base.Add(s.expires)
	}
	if s.state != "" {
		p.State = []byte(s.state)
	}
	return p
}

// vacate empties a spot that is neither watched nor due, and gives the descriptor to the caller.
func (l *Lot) vacate(i int32) *listener.FD {
	fd := l.spots.vacate(i)
	if len(l.retry) > 0 {
		l.retry = slices.DeleteFunc(l.retry, func(j int32) bool { return j == i })
	}
	return fd
}

// theBell is the place of the bell in the epoll instance.
const theBell = -1

// watch adds the descriptors of spots to the epoll instance. On error some may be there.
func (l *Lot) watch(fds []*listener.FD, spots []int32) error {
	var borrowErr, addErr error
	err := l.epoll.Control(func(epoll uintptr) {
		borrowErr = listener.ControlAll(fds, make([]int, 0, len(fds)), func(ns []int) {
			for j, n := range ns {
				event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: spots[j]}
				if err := unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, n, &event); err != nil {
					addErr = os.NewSyscallError("epoll_ctl", err)
					return
				}
				if i := spots[j]; i != theBell {
					l.spots.at(i).polled = true
				}
			}
		})
	})
	return errors.Join(err, borrowErr, addErr)
}

// unwatch takes a spot out of the epoll instance. Closing its descriptor would not: the socket lives on in another process,
// and epoll watches open files (epoll(7), Q6).
func (l *Lot) unwatch(i int32) {
	s := l.spots.at(i)
	if !s.polled {
		return
	}
	s.polled = false
	_ = l.epoll.Control(func(epoll uintptr) {
		_ = s.fd.Control(func(n uintptr) { _ = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_DEL, int(n), nil) })
	})
}

// rewatch makes a spot wait again that was on its way. What cannot be watched is given to the server at once.
func (l *Lot) rewatch(i int32) {
	s := l.spots.at(i)
	s.moving = false
	l.dues.add(&l.spots, i)
	if s.polled {
		return
	}
	if err := l.watch([]*listener.FD{s.fd}, []int32{i}); err != nil {
		l.retry = append(l.retry, i)
		l.again = time.Since(l.base) + retryAfter
	}
}

// ready takes out of their spots what has something to read, and closes what is due. It reports false once the lot is
// closed.
func (l *Lot) ready(epoll int, events []unix.EpollEvent) ([]arrival, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, false
	}
	n, err := unix.EpollWait(epoll, events, 0)
	if err != nil {
		n = 0 // interrupted: all is still there the next time
	}
	var ready []arrival
	for _, e := range events[:n] {
		i := e.Fd
		if i == theBell {
			_ = l.bell.Control(func(n uintptr) { _, _ = unix.Read(int(n), make([]byte, 8)) })
			continue
		}
		l.unwatch(i)
		if l.spots.at(i).moving || l.leaves(i) {
			continue // Kept watches it again
		}
		ready = append(ready, l.takeOut(i))
	}
	return append(ready, l.due()...), true
}

// leaves has a connection that would arrive leave instead, if it can.
func (l *Lot) leaves(i int32) bool {
	s := l.spots.at(i)
	if l.leave == nil {
		return false
	}
	d := l.leave(*s.key)
	s.moving = d != nil && d.Move(l.conn(i))
	return s.moving
}

// takeOut empties a spot that is not watched, for its connection to arrive.
func (l *Lot) takeOut(i int32) arrival {
	a := arrival{key: l.spots.at(i).key, pos: l.position(i)}
	l.dues.remove(&l.spots, i)
	a.fd = l.vacate(i)
	return a
}

// postpone parks what could not become a connection, for another try.
func (l *Lot) postpone(a arrival) {
	i := l.spots.occupy(spot{fd: a.fd, key: a.key, state: string(a.pos.State), expires: l.since(a.pos.Expires)})
	l.dues.add(&l.spots, i)
	l.retry = append(l.retry, i)
	l.again = time.Since(l.base) + retryAfter
	l.schedule()
}

// due closes the connections whose time is up, and returns those that are to be tried again.
func (l *Lot) due() []arrival {
	now := time.Since(l.base)
	for len(l.dues) > 0 && l.spots.at(l.dues[0]).expires <= now {
		i := l.dues[0]
		l.dues.remove(&l.spots, i)
		if l.spots.at(i).moving {
			continue // who gets it sees to it; Kept puts it back
		}
		l.unwatch(i)
		_ = l.vacate(i).Close()
		l.used--
	}
	var ready []arrival
	if len(l.retry) > 0 && l.again <= now {
		retry := l.retry
		l.retry = nil
		for _, i := range retry {
			if !l.spots.at(i).moving { // otherwise Kept watches it again
				ready = append(ready, l.takeOut(i))
			}
		}
	}
	l.signalEmpty()
	l.wakes = l.next() // the watcher is awake
	return ready
}

// next is when something is due, or to be tried again; 0: never.
func (l *Lot) next() time.Duration {
	next := time.Duration(0)
	if len(l.dues) > 0 {
		next = l.spots.at(l.dues[0]).expires
	}
	if len(l.retry) > 0 && (next == 0 || l.again < next) {
		next = l.again
	}
	return next
}

// schedule has the watcher look when something is due, if that is earlier than it would.
func (l *Lot) schedule() {
	if next := l.next(); next > 0 && (l.wakes == 0 || next < l.wakes) {
		l.wakes = next
		l.ring()
	}
}

// dues are the spots that expire, the first to do so at 0: a heap whose elements know their places.
type dues []int32

// order is a dues as container/heap sees it.
type order struct {
	*dues
	spots *spots
}

func (o order) Len() int { return len(*o.dues) }
func (o order) Less(i, j int) bool {
	return o.spots.at((*o.dues)[i]).expires < o.spots.at((*o.dues)[j]).expires
}
func (o order) Push(any) {} // see add, which needs no interface
func (o order) Pop() any { *o.dues = (*o.dues)[:len(*o.dues)-1]; return nil }

func (o order) Swap(i, j int) {
	d := *o.dues
	d[i], d[j] = d[j], d[i]
	o.spots.at(d[i]).due, o.spots.at(d[j]).due = int32(i)+1, int32(j)+1
}

// add adds a spot that expires, unless it is there.
func (d *dues) add(spots *spots, i int32) {
	if s := spots.at(i); s.expires > 0 && s.due == 0 {
		*d = append(*d, i)
		s.due = int32(len(*d))
		heap.Fix(order{d, spots}, len(*d)-1)
	}
}

// remove removes a spot, if it is there.
func (d *dues) remove(spots *spots, i int32) {
	if s := spots.at(i); s.due > 0 {
		heap.Remove(order{d, spots}, int(s.due)-1)
		s.due = 0
	}
}
