package live

import (
	"iter"
	"time"

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
	retried bool          // it is neither moving nor polled, but tried again: descriptors were lacking
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
	l.cancelRetry(i)
	return l.spots.vacate(i)
}

// retryLater has a spot tried again before long.
func (l *Lot) retryLater(i int32) {
	l.spots.at(i).retried = true
	l.retried++
	l.again = time.Since(l.base) + retryAfter
}

// cancelRetry undoes retryLater, if need be.
func (l *Lot) cancelRetry(i int32) {
	if s := l.spots.at(i); s.retried {
		s.retried = false
		l.retried--
	}
}

// setMoving marks a spot as one whose connection has left by a Departure.
func (l *Lot) setMoving(i int32) {
	l.cancelRetry(i)
	l.spots.at(i).moving = true
}
