package live

import (
	"net"
	"syscall"
	"time"
)

// Depart moves all connections, those that are parked and those that come, by what leave returns for their keys. Those for
// which it returns nil stay.
func (l *Lot) Depart(leave func(Key) Departure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave, l.evicts = leave, false
	offers := make(map[*Key][]Conn, len(l.keys))
	conns := make([]parkedConn, 0, l.used.n) // one allocation for all; what is to be asked points into it
	for i, s := range l.spots.all() {
		if s.moving {
			continue
		}
		conns = append(conns, l.conn(i))
		offers[s.key] = append(offers[s.key], &conns[len(conns)-1])
	}
	for k, conns := range offers {
		if d := leave(*k); d != nil {
			d.Ask(conns)
		}
	}
}

// Stay undoes Depart. What has left gets its Moved or Kept independently of it.
func (l *Lot) Stay() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave = nil
}

// Evict lets what is parked and cannot leave arrive at once, also what has left and is kept later, until Depart is called:
// the servers are to tell the clients to leave.
func (l *Lot) Evict() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evicts = true
	if l.closed || l.epoll == nil {
		return
	}
	for i, s := range l.spots.all() {
		if !s.moving && !s.retried && l.stays(s.key) {
			l.evict(i)
		}
	}
	l.schedule()
}

// stays reports whether connections of k have nowhere to go. Callers hold mu.
func (l *Lot) stays(k *Key) bool { return l.leave == nil || l.leave(*k) == nil }

// evict has a spot arrive at once. Callers call schedule.
func (l *Lot) evict(i int32) {
	l.unwatch(i)
	l.retryLater(i)
	l.again = time.Since(l.base)
}

// parkedConn is a parked connection that may leave. Once it has, it keeps its spot until Moved or Kept.
type parkedConn struct {
	lot  *Lot
	i    int32
	uses uint32 // the spot's, by which to find out whether another has it now
}

// conn is for a Departure. Callers hold mu.
func (l *Lot) conn(i int32) parkedConn { return parkedConn{l, i, l.spots.at(i).uses} }

func (p parkedConn) Leave() bool {
	p.lot.mu.Lock()
	defer p.lot.mu.Unlock()
	if p.lot.closed || p.lot.leave == nil {
		return false
	}
	s := p.lot.spots.at(p.i)
	if s.uses != p.uses || s.moving {
		return false // it arrives, or has gone already
	}
	p.lot.setMoving(p.i)
	return true
}

func (p parkedConn) SyscallConn() (syscall.RawConn, error) {
	p.lot.mu.Lock()
	defer p.lot.mu.Unlock()
	if p.lot.closed {
		return nil, net.ErrClosed
	}
	return p.lot.spots.at(p.i).fd.SyscallConn()
}

func (p parkedConn) Position() Position {
	p.lot.mu.Lock()
	defer p.lot.mu.Unlock()
	if p.lot.closed {
		return Position{}
	}
	return p.lot.position(p.i)
}

func (p parkedConn) Moved() {
	p.lot.mu.Lock()
	defer p.lot.mu.Unlock()
	if p.lot.closed {
		return
	}
	p.lot.unwatch(p.i)
	p.lot.dues.remove(&p.lot.spots, p.i)
	_ = p.lot.vacate(p.i).Close()
	p.lot.used.add(-1)
}

func (p parkedConn) Kept() {
	p.lot.mu.Lock()
	defer p.lot.mu.Unlock()
	if p.lot.closed {
		return
	}
	p.lot.rewatch(p.i)
	p.lot.schedule()
}
