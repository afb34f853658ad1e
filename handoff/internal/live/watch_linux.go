package live

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// wakeSpot is what stands for wakeFD in the epoll instance.
const wakeSpot = -1

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
				if i := spots[j]; i != wakeSpot {
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

// rewatch makes a spot wait again that was on its way. What cannot be watched is given to the server before long.
func (l *Lot) rewatch(i int32) {
	s := l.spots.at(i)
	s.moving = false
	l.dues.add(&l.spots, i)
	if l.evicts && l.stays(s.key) {
		l.evict(i)
		return
	}
	if s.polled {
		return
	}
	if err := l.watch([]*listener.FD{s.fd}, []int32{i}); err != nil {
		l.retryLater(i)
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
		if i == wakeSpot {
			_ = l.wakeFD.Control(func(n uintptr) { _, _ = unix.Read(int(n), make([]byte, 8)) })
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
	if d == nil || !d.Move(l.conn(i)) {
		return false
	}
	l.setMoving(i)
	return true
}

// takeOut empties a spot that is neither polled nor moving, for its connection to arrive.
func (l *Lot) takeOut(i int32) arrival {
	a := arrival{key: l.spots.at(i).key, pos: l.position(i)}
	l.dues.remove(&l.spots, i)
	a.fd = l.vacate(i)
	l.out.add(1)
	return a
}

// postpone parks what could not become a connection, for another try; or it leaves.
func (l *Lot) postpone(a arrival) {
	i := l.spots.occupy(spot{fd: a.fd, key: a.key, state: string(a.pos.State), expires: l.since(a.pos.Expires)})
	l.dues.add(&l.spots, i)
	if !l.leaves(i) {
		l.retryLater(i)
	}
	l.schedule()
}
