package live

import (
	"container/heap"
	"time"
)

// due closes the connections whose time is up, and returns those that are to arrive: of one that stands in the midst of
// something its server decides what to say; others are to be tried again.
func (l *Lot) due() []arrival {
	now := time.Since(l.base)
	var ready []arrival
	for len(l.dues) > 0 && l.spots.at(l.dues[0]).expires <= now {
		i := l.dues[0]
		l.dues.remove(&l.spots, i)
		if l.spots.at(i).moving {
			continue // who gets it sees to it; Kept puts it back
		}
		l.unwatch(i)
		if s := l.spots.at(i); s.state != "" {
			if !s.retried && !l.leaves(i) { // or it is to be tried again
				ready = append(ready, l.takeOut(i))
			}
			continue
		}
		_ = l.vacate(i).Close()
		l.used.add(-1)
	}
	if l.retried > 0 && l.again <= now {
		for i, s := range l.spots.all() { // it is rare enough to look at all
			if s.retried && !l.leaves(i) {
				ready = append(ready, l.takeOut(i))
			}
		}
	}
	l.wakes = l.next() // the watcher is awake
	return ready
}

// next is when something is due, or to be tried again; 0: never.
func (l *Lot) next() time.Duration {
	next := time.Duration(0)
	if len(l.dues) > 0 {
		next = l.spots.at(l.dues[0]).expires
	}
	if l.retried > 0 && (next == 0 || l.again < next) {
		next = l.again
	}
	return next
}

// schedule has the watcher look when something is due, if that is earlier than it would.
func (l *Lot) schedule() {
	if next := l.next(); next > 0 && (l.wakes == 0 || next < l.wakes) {
		l.wakes = next
		l.wake()
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
