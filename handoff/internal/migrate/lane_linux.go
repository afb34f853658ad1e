package migrate

import (
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// lane has the connections that go to one place: a socket and a protocol there, or a name by which the program gives them.
type lane struct {
	d     *Departure
	head  wire.Conns  // without batch and records
	left  []live.Conn // wait to be sent, and nobody reads from them meanwhile
	toAsk []live.Conn // to be asked to leave
}

// Ask is part of live.Departure.
func (l *lane) Ask(conns []live.Conn) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.add(&l.toAsk, conns...)
}

// Move is part of live.Departure.
func (l *lane) Move(c live.Conn) bool {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	return l.add(&l.left, c)
}

// add queues conns, and takes the slice. It reports false if nothing moves any more. Callers hold mu.
func (l *lane) add(queue *[]live.Conn, conns ...live.Conn) bool {
	if l.d.halted {
		return false
	}
	if !l.d.sending() {
		l.d.progress = time.Now()
	}
	if len(*queue) == 0 {
		*queue = conns
	} else {
		*queue = append(*queue, conns...)
	}
	if l.d.queued += len(conns); l.d.queued == len(conns) {
		l.d.changed.Broadcast()
	}
	return true
}

// cut takes up to n connections off a queue. Callers hold mu.
func (l *lane) cut(queue *[]live.Conn, n int) []live.Conn {
	n = min(len(*queue), n)
	conns := (*queue)[:n:n]
	if *queue = (*queue)[n:]; len(*queue) == 0 {
		*queue = nil
	}
	l.d.queued -= n
	return conns
}

// pick takes up to n connections of one lane, those that have left first. Callers hold mu, which is let go of meanwhile.
func (d *Departure) pick(n int) (*lane, []live.Conn) {
	var l *lane
	for i := range d.lanes {
		at := d.lanes[(d.turn+i)%len(d.lanes)]
		if len(at.left) > 0 {
			l = at
			break
		}
		if l == nil && len(at.toAsk) > 0 {
			l = at
		}
	}
	d.turn++
	conns := l.cut(&l.left, n)
	toAsk := l.cut(&l.toAsk, n-len(conns))
	asked := len(conns) + len(toAsk)
	d.pickUp(asked)
	if len(toAsk) == 0 {
		return l, conns
	}
	d.mu.Unlock()
	conns = slices.Clone(conns)
	for _, c := range toAsk {
		if c.Leave() {
			conns = append(conns, c)
		}
	}
	d.mu.Lock()
	d.pickUp(len(conns) - asked) // some may not have left
	return l, conns
}

// pickUp counts n connections more as picked, or less. Callers hold mu.
func (d *Departure) pickUp(n int) {
	d.picked += n
	d.credit -= n
}
