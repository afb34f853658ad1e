package handoff

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// departure moves live connections to the process at the other end of a link, from its CONFIRM on: those of servers that
// track them, those that are parked here, and those that the program gives. A connection belongs to the other process once
// that has said TAKEN, and not before: until then nobody reads from it.
type departure struct {
	g     *Generation
	link  *link.Link
	begun time.Time
	takes map[live.Key]*lane // what the other process can go on with
	over  atomic.Bool        // end was called

	mu       sync.Mutex
	change   sync.Cond // on mu: something below has changed
	given    map[string]*lane
	lanes    []*lane // all, in turn
	turn     int
	queued   int           // in all lanes
	picked   int           // taken off the lanes and not in flight yet: asked to leave, or put into a batch
	flight   []shipment    // sent and not answered, the oldest first
	arrived  [][]live.Conn // answered, their copies here not closed yet
	sweeping bool          // some of them are being closed
	batch    int           // the next one's number
	room     int           // for how many connections more the other process has descriptors, beside those picked or in flight
	progress time.Time     // when there began to be something to send, or the other process last answered
	closed   bool          // nothing is sent any more
	stopped  chan struct{} // closed with it
	idle     chan struct{}
	moved    int
	told     bool          // of the bulk
	offered  chan struct{} // closed when depart has told all
	done     chan struct{} // closed when run has ended
	swept    chan struct{} // closed when sweep has
}

// shipment is a batch in flight.
type shipment struct {
	batch int
	conns []live.Conn
	sent  time.Time // when it was sent, or the other process was last known to be alive
}

// Four batches may be in flight: the other process is not to wait while the news that it has parked one goes to this one,
// and another comes back. They are smaller than they could be, because a connection is in nobody's hands for as long as all
// four take; with smaller ones yet, the whole takes longer.
const (
	shipments = 4
	batchLen  = 128 // connections, at most wire.MaxConns
)

// maxUnswept is how many batches may have arrived whose copies here are still open.
const maxUnswept = 256

// depart begins to move connections, if the successor takes any.
func (a *attempt) depart(m *wire.Confirm) {
	defer func() {
		a.g.mu.Lock()
		a.departed = true
		a.g.tellNewsLocked()
		a.g.mu.Unlock()
	}()
	if !a.moves {
		a.g.exchange.Depart(func(live.Key) live.Departure { return nil }) // what is held is told that the state has moved
		return
	}
	a.departure = a.g.depart(a.link, a.sockets, m)
}

// depart begins to move connections to the process at the other end of l, which has said m. sockets are by their place in
// the offer; nil for what is not here. It returns nil if this generation is being closed, and nothing moves any more.
func (g *Generation) depart(l *link.Link, sockets []*resource, m *wire.Confirm) *departure {
	d := newDeparture(g, l, m.Room)
	for _, t := range m.Takes {
		if t.Item >= len(sockets) || sockets[t.Item] == nil {
			continue // it says so to nobody but itself
		}
		l := &lane{d: d, head: wire.Conns{Item: t.Item, Protocol: t.Protocol}}
		d.takes[live.Key{Socket: sockets[t.Item], Protocol: t.Protocol}] = l
		d.lanes = append(d.lanes, l)
	}
	g.mu.Lock()
	if g.flushed {
		g.mu.Unlock()
		return nil // it is being closed
	}
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
	close(d.offered)
	// Not before there is something for full batches. The caller is a task, so Close waits for both.
	g.task(d.sweep)
	g.task(d.run)
	return d
}

func newDeparture(g *Generation, l *link.Link, room int) *departure {
	d := &departure{g: g, link: l, begun: time.Now(), room: room, takes: map[live.Key]*lane{}, given: map[string]*lane{},
		stopped: make(chan struct{}), offered: make(chan struct{}), done: make(chan struct{}), swept: make(chan struct{})}
	d.change.L = &d.mu
	return d
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
			d.stop(d.link.Who() + " has no descriptors left for more connections; raise its RLIMIT_NOFILE")
			return
		}
		d.ship(l, conns)
	}
}

// next waits for connections to send, and returns them when they have left: they are picked. The lane is nil if the
// other process has no room for any. It reports false once all is over.
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
			l, conns := d.pick(min(d.room, batchLen))
			if len(conns) > 0 {
				return l, conns, true
			}
			d.signal()
		}
	}
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

// send sends one batch of those that are picked. What cannot be sent is kept.
func (d *departure) send(m *wire.Conns, conns []live.Conn) {
	d.mu.Lock()
	for len(d.flight) >= shipments && !d.closed { // the records did not fit one batch
		d.change.Wait()
	}
	d.picked -= len(conns)
	if d.closed { // since they have left
		d.signal()
		d.mu.Unlock()
		keep(conns)
		return
	}
	m.Batch = d.batch % wire.MaxSockets
	d.batch++
	d.flight = append(d.flight, shipment{m.Batch, conns, time.Now()})
	d.mu.Unlock()
	fds := make([]syscall.Conn, len(conns))
	for i, c := range conns {
		fds[i] = c
	}
	err := d.link.SendUntil(d.stopped, m, fds...)
	if err == nil || link.Over(err) {
		// The end of the link is for the driver to see, which decides what becomes of this generation, and so of what is in
		// flight. Kept before that, connections would be told to leave.
		return
	}
	d.mu.Lock()
	mine := false
	if i := slices.IndexFunc(d.flight, func(s shipment) bool { return s.batch == m.Batch }); i >= 0 {
		d.flight, mine = slices.Delete(slices.Clone(d.flight), i, i+1), true
		d.batch--
		d.room += len(conns)
	}
	d.signal()
	d.mu.Unlock()
	if !mine {
		return
	}
	keep(conns)
	if !errors.Is(err, net.ErrClosed) {
		d.g.log.Warn("connections stay in this process", "connections", len(conns), "error", err)
	}
}

// taken acts on the other process's answer to the oldest batch in flight.
func (d *departure) taken(m *wire.Taken) {
	if d == nil {
		return
	}
	d.mu.Lock()
	if len(d.flight) == 0 || d.flight[0].batch != m.Batch {
		d.mu.Unlock()
		d.g.log.Warn("the other side answers what was not sent", "error", fmt.Errorf("%w: TAKEN %d", ErrProtocol, m.Batch))
		return
	}
	conns := d.flight[0].conns
	d.flight = d.flight[1:]
	d.progress = time.Now()
	d.room = m.Room - d.picked // the other process has not seen these
	for _, s := range d.flight {
		d.room -= len(s.conns)
	}
	if m.Refused == "" {
		d.moved += len(conns)
		d.arrived = append(d.arrived, conns)
	}
	first := !d.told && !d.sending()
	d.told = d.told || first
	moved := d.moved
	d.signal()
	d.mu.Unlock()
	if m.Refused != "" {
		d.stop(d.link.Who() + " does not take them: " + m.Refused)
		keep(conns)
		return
	}
	if first { // the bulk; what was busy comes later
		d.g.log.Info("connections moved", "moved", moved, "took", time.Since(d.begun).Round(time.Microsecond))
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
		for len(d.arrived) == 0 || len(d.arrived) < maxUnswept && !d.closed && d.sending() {
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

// signal tells those who wait. Callers hold mu.
func (d *departure) signal() {
	d.change.Broadcast()
	if d.idle != nil && d.quiet() {
		close(d.idle)
		d.idle = nil
	}
}
