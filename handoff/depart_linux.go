package handoff

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// departure moves live connections to the successor of an attempt, from its CONFIRM on: those of servers that track them,
// those that are parked here, and those that the program gives. A connection belongs to the successor once it has said
// TAKEN, and not before: until then nobody reads from it.
type departure struct {
	a     *attempt
	begun time.Time
	takes map[live.Key]*lane // what the successor can go on with
	over  atomic.Bool        // end was called

	mu       sync.Mutex
	change   sync.Cond // on mu: something below has changed
	given    map[string]*lane
	lanes    []*lane // all, in turn
	turn     int
	queued   int           // in all lanes
	leaving  bool          // some are being asked to leave
	flight   []shipment    // sent and not answered, the oldest first
	arrived  [][]live.Conn // answered, their copies here not closed yet
	sweeping bool          // some of them are being closed
	batch    int           // the next one's number
	room     int           // for how many connections more the successor has descriptors, beside those in flight
	closed   bool          // nothing is sent any more
	idle     chan struct{}
	moved    int
	told     bool          // of the bulk
	done     chan struct{} // closed when run has ended
	swept    chan struct{} // closed when sweep has
}

// lane has the connections that go to one place.
type lane struct {
	d       *departure
	head    wire.Conns  // without batch and records
	left    []live.Conn // wait to be sent, and nobody reads from them meanwhile
	offered []live.Conn // can be asked to leave
}

// shipment is a batch in flight.
type shipment struct {
	batch int
	conns []live.Conn
}

// shipments is how many batches may be in flight: one that the successor parks, and one that is there when it has.
const shipments = 2

// maxUnswept is how many batches may have arrived whose copies here are still open.
const maxUnswept = 256

// depart begins to move connections, if the successor takes any.
func (a *attempt) depart(m *wire.Confirm) {
	g := a.g
	if !a.moves {
		g.exchange.Depart(func(live.Key) live.Departure { return nil }) // what is held is told that the state has moved
		return
	}
	d := &departure{a: a, begun: time.Now(), room: m.Room, takes: map[live.Key]*lane{}, given: map[string]*lane{},
		done: make(chan struct{}), swept: make(chan struct{})}
	d.change.L = &d.mu
	for _, t := range m.Takes {
		if t.Item >= len(a.sockets) {
			continue // it says so to nobody but itself
		}
		l := &lane{d: d, head: wire.Conns{Item: t.Item, Protocol: t.Protocol}}
		d.takes[live.Key{Socket: a.sockets[t.Item], Protocol: t.Protocol}] = l
		d.lanes = append(d.lanes, l)
	}
	a.departure = d
	g.mu.Lock()
	g.sent += g.departure.count()
	g.departure = d
	g.mu.Unlock()
	leave := func(k live.Key) live.Departure {
		if l := d.takes[k]; l != nil {
			return l
		}
		return nil
	}
	g.exchange.Depart(leave)
	g.lot.Depart(leave)
	g.passOn()
	// Not before there is something for full batches. These are tasks of which the caller, which handles the attempt, is not
	// done: Close waits for both.
	g.task(d.sweep)
	g.task(d.run)
}

// Offer is part of live.Departure.
func (l *lane) Offer(c live.Conn) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.add(&l.offered, c)
}

// Move is part of live.Departure.
func (l *lane) Move(c live.Conn) bool {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	return l.add(&l.left, c)
}

// add queues c. Callers hold mu.
func (l *lane) add(queue *[]live.Conn, c live.Conn) bool {
	if l.d.closed {
		return false
	}
	*queue = append(*queue, c)
	if l.d.queued++; l.d.queued == 1 {
		l.d.change.Broadcast()
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

// open reports whether connections still move. It is called with Generation.mu held.
func (d *departure) open() bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.closed
}

// count returns how many connections have moved.
func (d *departure) count() int {
	if d == nil {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.moved
}

// give queues a connection of the program's own.
func (d *departure) give(name string, c live.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.given[name]
	if l == nil {
		l = &lane{d: d, head: wire.Conns{Name: name}}
		d.given[name] = l
		d.lanes = append(d.lanes, l)
	}
	return l.add(&l.left, c)
}

// run sends what is queued, until nothing is to be sent any more.
func (d *departure) run() {
	defer close(d.done)
	for {
		l, conns, ok := d.next()
		if !ok {
			return
		}
		if l == nil {
			d.stop("the successor has no descriptors left for more connections; raise its RLIMIT_NOFILE")
			return
		}
		d.ship(l, conns)
	}
}

// next waits for connections to send, which have left, and counts them as in flight. The lane is nil if the successor has
// no room for any. It reports false once all is over.
func (d *departure) next() (*lane, []live.Conn, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.closed:
			return nil, nil, false
		case d.queued == 0 || len(d.flight) >= shipments:
			d.change.Wait()
		case d.room <= 0 && len(d.flight) == 0:
			return nil, nil, true
		case d.room <= 0:
			d.change.Wait()
		default:
			l, conns := d.pick(min(d.room, wire.MaxConns))
			if len(conns) > 0 {
				d.room -= len(conns)
				return l, conns, true
			}
			d.signal()
		}
	}
}

// pick takes up to n connections of one lane, those that have left first. Callers hold mu, which is let go of meanwhile.
func (d *departure) pick(n int) (*lane, []live.Conn) {
	var l *lane
	for i := range d.lanes {
		at := d.lanes[(d.turn+i)%len(d.lanes)]
		if len(at.left) > 0 {
			l = at
			break
		}
		if l == nil && len(at.offered) > 0 {
			l = at
		}
	}
	d.turn++
	conns := l.cut(&l.left, n)
	offered := l.cut(&l.offered, n-len(conns))
	if len(offered) == 0 {
		return l, conns
	}
	d.leaving = true // so that nobody takes this for the end
	d.mu.Unlock()
	conns = slices.Clone(conns)
	for _, c := range offered {
		if c.Leave() {
			conns = append(conns, c)
		}
	}
	d.mu.Lock()
	d.leaving = false
	return l, conns
}

// ship sends conns, in as many batches as their records need.
func (d *departure) ship(l *lane, conns []live.Conn) {
	now := time.Now()
	for len(conns) > 0 {
		m := l.head
		n := 0
		for ; n < len(conns); n++ {
			p := conns[n].Position()
			r := wire.Record{Expires: -1, State: p.State}
			if !p.Expires.IsZero() {
				r.Expires = max(p.Expires.Sub(now), 0)
			}
			if n > 0 && len(m.Records)+wire.RecordLen(len(r.State)) > wire.MaxRecords {
				break
			}
			m.Records = wire.AppendRecord(m.Records, r)
		}
		d.send(&m, conns[:n:n])
		conns = conns[n:]
	}
}

// send sends one batch. What cannot be sent is kept.
func (d *departure) send(m *wire.Conns, conns []live.Conn) {
	d.mu.Lock()
	if d.closed { // while it was leaving
		d.mu.Unlock()
		keep(conns)
		return
	}
	m.Batch = d.batch % wire.MaxSockets
	d.batch++
	d.flight = append(d.flight, shipment{m.Batch, conns})
	d.mu.Unlock()
	err := d.a.link.sendConns(m, conns)
	if err == nil || over(err) {
		// The end of the link is for guard to see. It decides what becomes of this generation, and so of what is in flight:
		// kept before that, connections would be told to leave.
		return
	}
	d.mu.Lock()
	mine := false
	for i, s := range d.flight { // unless close has decided it
		if s.batch == m.Batch {
			d.flight, mine = append(d.flight[:i:i], d.flight[i+1:]...), true
			d.batch--
			break
		}
	}
	d.signal()
	d.mu.Unlock()
	if !mine {
		return
	}
	keep(conns)
	if !errors.Is(err, net.ErrClosed) {
		d.a.g.log.Warn("connections stay in this process", "connections", len(conns), "error", err)
	}
}

// taken acts on the successor's answer to the oldest batch in flight.
func (d *departure) taken(m *wire.Taken) {
	if d == nil {
		return
	}
	d.mu.Lock()
	if len(d.flight) == 0 || d.flight[0].batch != m.Batch {
		d.mu.Unlock()
		d.a.g.log.Warn("the successor answers what was not sent", "error", fmt.Errorf("%w: TAKEN %d", ErrProtocol, m.Batch))
		return
	}
	conns := d.flight[0].conns
	d.flight = d.flight[1:]
	d.room = m.Room
	for _, s := range d.flight {
		d.room = max(d.room-len(s.conns), 0)
	}
	if m.Refused == "" {
		d.moved += len(conns)
		d.arrived = append(d.arrived, conns)
	}
	first := !d.told && d.queued == 0 && !d.leaving && len(d.flight) == 0
	d.told = d.told || first
	moved := d.moved
	d.signal()
	d.mu.Unlock()
	if m.Refused != "" {
		d.stop("the successor does not take them: " + m.Refused)
		keep(conns)
		return
	}
	if first { // the bulk; what was busy comes later
		d.a.g.log.Info("connections moved", "moved", moved, "took", time.Since(d.begun).Round(time.Microsecond))
	}
}

// sweep closes the own copies of what has arrived, until the departure has ended. It has a goroutine of its own, because
// nobody waits for it: what the server here does when a connection ends takes longer than the move.
func (d *departure) sweep() {
	defer close(d.swept)
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		// Not while there is more to send, which is urgent; but a steady stream of connections must not put it off for ever.
		for len(d.arrived) == 0 || len(d.arrived) < maxUnswept && !d.closed && (d.queued > 0 || len(d.flight) > 0) {
			if len(d.arrived) == 0 && d.closed && len(d.flight) == 0 {
				return
			}
			d.change.Wait()
		}
		conns := d.arrived[0]
		d.arrived, d.sweeping = d.arrived[1:], true
		d.mu.Unlock()
		for _, c := range conns {
			c.Moved()
		}
		d.mu.Lock()
		d.sweeping = false
		d.signal()
	}
}

func keep(conns []live.Conn) {
	for _, c := range conns {
		c.Kept()
	}
}

// stop ends the moving: what has not been sent stays here, and is told to leave in the ordinary way. What is in flight is
// still to be answered.
func (d *departure) stop(why string) {
	n := d.shut()
	if n > 0 || why != "" {
		d.a.g.log.Warn("connections stay in this process until they are drained", "waiting", n, "reason", why)
	}
}

// shut is stop without a word.
func (d *departure) shut() (kept int) {
	g := d.a.g
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return 0
	}
	d.closed = true
	var queued []live.Conn
	for _, l := range d.lanes {
		queued = append(queued, l.left...)
		kept += len(l.left) + len(l.offered)
		l.left, l.offered = nil, nil
	}
	d.queued = 0
	d.signal()
	d.mu.Unlock()
	g.exchange.Stay() // first, so that what is kept knows
	g.lot.Stay()
	keep(queued)
	return kept
}

// end is stop for when there is nobody any more to answer: what is in flight stays here as well. The caller knows that the
// successor has nothing of it: it is dead, or had not answered when it hung up, and so never reads from it.
func (d *departure) end() {
	if d == nil || !d.over.CompareAndSwap(false, true) {
		return
	}
	d.shut()
	<-d.done
	d.mu.Lock()
	flight := d.flight
	d.flight = nil
	moved := d.moved
	d.signal()
	d.mu.Unlock()
	for _, s := range flight {
		keep(s.conns)
	}
	<-d.swept
	if moved > 0 {
		d.a.g.log.Info("no more connections move", "moved", moved)
	}
}

// signal tells those who wait. Callers hold mu.
func (d *departure) signal() {
	d.change.Broadcast()
	if d.idle != nil && d.queued == 0 && !d.leaving && len(d.flight) == 0 && len(d.arrived) == 0 && !d.sweeping {
		close(d.idle)
		d.idle = nil
	}
}

// flushed returns a channel that is closed once nothing is queued or in flight.
func (d *departure) flushed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	idle := make(chan struct{})
	if d.idle != nil {
		idle = d.idle
	}
	d.idle = idle
	d.signal()
	return idle
}
