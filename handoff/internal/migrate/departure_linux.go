package migrate

import (
	"errors"
	"fmt"
	"log/slog"
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

// Departure moves live connections to the process at the other end of a link, from its CONFIRM on: those of servers that
// track them, those that are parked here, and those that the program gives. A connection belongs to the other process once
// that has said TAKEN, and not before: until then nobody reads from it.
//
// It has two goroutines: run sends, and closeCopies closes what has arrived. For each connection there is one outcome, Moved
// or Kept.
type Departure struct {
	c     *Conns
	log   *slog.Logger
	link  *link.Link
	begun time.Time
	takes map[live.Key]*lane // what the other process can go on with
	ended atomic.Bool        // End was called

	mu        sync.Mutex
	changed   sync.Cond        // on mu: something below has changed; for run
	closable  sync.Cond        // on mu: there is something to do for closeCopies, which need not run for each batch
	given     map[string]*lane // of connections that the program gives
	lanes     []*lane          // all, in turn
	turn      int
	queued    int           // in all lanes
	picked    int           // taken off the lanes and not in flight yet: asked to leave, or put into a batch
	inFlight  []batch       // sent and not answered, the oldest first
	copies    [][]live.Conn // answered, and not closed here yet
	closing   bool          // some of the copies are being closed
	number    int           // of the next batch
	credit    int           // for how many connections more the other process has descriptors, beside those picked or in flight
	progress  time.Time     // when there began to be something to send, or the other process last answered
	halted    bool          // nothing is sent any more
	idle      chan struct{} // closed when there is nothing to do; nil if nobody waits for that
	moved     int
	bulkMoved bool // all that was there at first has moved, and that was logged

	halt         chan struct{} // closed with halted
	announced    chan struct{} // closed when all servers know of the departure
	runEnded     chan struct{}
	copiesClosed chan struct{} // closed when closeCopies has ended
}

// batch is one in flight.
type batch struct {
	number int
	conns  []live.Conn
	sent   time.Time // when it was sent, or the other process was last known to be alive
}

// Up to window batches are in flight: the other process is not to wait while the news that it has parked one goes to this one,
// and another comes back. There are no more, and they are smaller than they could be, because a connection is in nobody's hands
// for as long as the whole window takes; with smaller ones yet, the whole takes longer.
const (
	window   = 2
	batchLen = 128 // connections, at most wire.MaxConns
)

// maxCopies is how many batches may have arrived whose copies here are still open.
const maxCopies = 256

// newDeparture returns a departure to the process at the other end of l, which has given credit.
func (c *Conns) newDeparture(l *link.Link, credit int) *Departure {
	d := &Departure{c: c, log: c.Log, link: l, begun: time.Now(), credit: credit, takes: map[live.Key]*lane{}, given: map[string]*lane{},
		halt: make(chan struct{}), announced: make(chan struct{}), runEnded: make(chan struct{}), copiesClosed: make(chan struct{})}
	d.changed.L, d.closable.L = &d.mu, &d.mu
	return d
}

// NoDeparture returns a departure that has ended before anything moved.
func NoDeparture() *Departure {
	d := (&Conns{Log: slog.New(slog.DiscardHandler)}).newDeparture(nil, 0)
	d.stopLocked() // nobody else has it yet
	close(d.announced)
	close(d.runEnded)
	close(d.copiesClosed)
	d.ended.Store(true)
	return d
}

// open reports whether connections still move.
func (d *Departure) open() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.halted
}

// count returns how many connections have moved.
func (d *Departure) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.moved
}

// give queues a connection of the program's own. It reports false if nothing moves any more.
func (d *Departure) give(name string, c live.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.halted {
		return false
	}
	l := d.given[name]
	if l == nil {
		l = &lane{d: d, head: wire.Conns{Name: name}}
		d.given[name] = l
		d.lanes = append(d.lanes, l)
	}
	return l.add(&l.left, c)
}

// run sends what is queued, until nothing is to be sent any more.
func (d *Departure) run() {
	defer close(d.runEnded)
	for {
		l, conns, err := d.next()
		switch {
		case err == nil:
			d.sendAll(l, conns)
		case errors.Is(err, errNoCredit):
			d.giveUp(d.link.Who() + " has no descriptors left for more connections; raise its RLIMIT_NOFILE")
			return
		default:
			return
		}
	}
}

var (
	errNoCredit = errors.New("the other process has no descriptors left")
	errHalted   = errors.New("nothing is sent any more")
)

// next waits for connections to send, and returns them when they have left: they are picked. The error is errNoCredit or
// errHalted.
func (d *Departure) next() (*lane, []live.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.halted:
			return nil, nil, errHalted
		case d.queued == 0 || len(d.inFlight) >= window:
			d.changed.Wait()
		case d.credit <= 0 && len(d.inFlight) == 0:
			return nil, nil, errNoCredit
		case d.credit <= 0:
			d.changed.Wait()
		default:
			l, conns := d.pick(min(d.credit, batchLen))
			if len(conns) > 0 {
				return l, conns, nil
			}
			d.signal()
		}
	}
}

// sendAll sends conns, in as many batches as their records need.
func (d *Departure) sendAll(l *lane, conns []live.Conn) {
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
func (d *Departure) send(m *wire.Conns, conns []live.Conn) {
	d.mu.Lock()
	for len(d.inFlight) >= window && !d.halted { // the records did not fit one batch
		d.changed.Wait()
	}
	d.picked -= len(conns)
	if d.halted { // since they have left
		d.signal()
		d.mu.Unlock()
		keep(conns)
		return
	}
	m.Batch = d.number % wire.MaxSockets
	d.number++
	d.inFlight = append(d.inFlight, batch{m.Batch, conns, time.Now()})
	d.mu.Unlock()
	fds := make([]syscall.Conn, len(conns))
	for i, c := range conns {
		fds[i] = c
	}
	err := d.link.SendUntil(d.halt, m, fds...)
	if err == nil || link.Over(err) {
		// The end of the link is for the driver to see, which decides what becomes of this process, and so of what is in
		// flight. Kept before that, connections would be told to leave.
		return
	}
	if !d.unsent(m.Batch) {
		return
	}
	keep(conns)
	if !errors.Is(err, net.ErrClosed) {
		d.log.Warn("connections stay in this process", "connections", len(conns), "error", err)
	}
}

// unsent takes a batch that could not be sent out of flight. It reports false if End has.
func (d *Departure) unsent(number int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.signal()
	i := slices.IndexFunc(d.inFlight, func(b batch) bool { return b.number == number })
	if i < 0 {
		return false
	}
	d.credit += len(d.inFlight[i].conns)
	d.inFlight = slices.Delete(slices.Clone(d.inFlight), i, i+1)
	d.number--
	return true
}

// Taken acts on the other process's answer to the oldest batch in flight.
func (d *Departure) Taken(m *wire.Taken) {
	d.mu.Lock()
	if len(d.inFlight) == 0 || d.inFlight[0].number != m.Batch {
		d.mu.Unlock()
		d.log.Warn("the other side answers what was not sent", "error", fmt.Errorf("%w: TAKEN %d", wire.ErrProtocol, m.Batch))
		return
	}
	conns := d.inFlight[0].conns
	d.inFlight = d.inFlight[1:]
	d.progress = time.Now()
	d.credit = m.Room - d.picked // the other process has not seen these
	for _, b := range d.inFlight {
		d.credit -= len(b.conns)
	}
	if m.Refused == "" {
		d.moved += len(conns)
		d.copies = append(d.copies, conns)
	}
	bulk := !d.bulkMoved && !d.sending()
	d.bulkMoved = d.bulkMoved || bulk
	moved := d.moved
	d.signal()
	d.mu.Unlock()
	_, given := conns[0].(*gift)
	d.tell(Told{Given: given, Count: len(conns), Refused: m.Refused != ""})
	if bulk {
		d.tell(Told{Bulk: true})
	}
	if m.Refused != "" {
		d.giveUp(d.link.Who() + " does not take them: " + m.Refused)
		keep(conns)
		return
	}
	if bulk { // what was busy comes later
		d.log.Info("connections moved", "moved", moved, "took", time.Since(d.begun).Round(time.Microsecond))
	}
}

// bulk notes that all that was there at first has moved, if it has.
func (d *Departure) bulk() {
	d.mu.Lock()
	bulk := !d.bulkMoved && (d.halted || !d.sending())
	d.bulkMoved = d.bulkMoved || bulk
	d.mu.Unlock()
	if bulk {
		d.tell(Told{Bulk: true})
	}
}

// tell tells whoever wants to know.
func (d *Departure) tell(t Told) {
	if f := d.c.cfg.Told; f != nil {
		f(t)
	}
}

// closeCopies closes the own copies of what has arrived, until the departure has ended. It has a goroutine of its own, because
// nobody waits for it: what the server here does when a connection ends takes longer than the move.
func (d *Departure) closeCopies() {
	defer close(d.copiesClosed)
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		for !d.mayClose() {
			if d.closedAll() {
				return
			}
			d.closable.Wait()
		}
		conns := d.copies[0]
		d.copies, d.closing = d.copies[1:], true
		d.mu.Unlock()
		for _, c := range conns {
			c.Moved()
		}
		d.mu.Lock()
		d.closing = false
		d.signal()
	}
}

func keep(conns []live.Conn) {
	for _, c := range conns {
		c.Kept()
	}
}

// sending reports whether something is to be sent, or answered. Callers hold mu.
func (d *Departure) sending() bool { return d.queued > 0 || d.picked > 0 || len(d.inFlight) > 0 }

// quiet reports whether all that was to move has, and is closed here. Callers hold mu.
func (d *Departure) quiet() bool { return !d.sending() && len(d.copies) == 0 && !d.closing }

// mayClose reports whether a copy is to be closed now. Not while there is more to send, which is urgent; but a steady stream of
// connections must not put it off for ever. Callers hold mu.
func (d *Departure) mayClose() bool {
	return len(d.copies) > 0 && (len(d.copies) >= maxCopies || d.halted || !d.sending())
}

// closedAll reports whether there will be no more copies to close. Callers hold mu.
func (d *Departure) closedAll() bool { return len(d.copies) == 0 && d.halted && len(d.inFlight) == 0 }

// signal tells those who wait. Callers hold mu.
func (d *Departure) signal() {
	d.changed.Broadcast()
	if d.mayClose() || d.closedAll() {
		d.closable.Signal()
	}
	if d.idle != nil && d.quiet() {
		close(d.idle)
		d.idle = nil
	}
}
