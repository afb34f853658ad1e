package migrate

import (
	"slices"
	"sync"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// moves is the part of Conns that needs Linux.
type moves struct {
	lot *live.Lot // connections from another process whose clients are silent

	mu          sync.Mutex // taken after the owner's lock, before that of a departure
	departure   *Departure // the last one
	ended       bool       // there will be no other
	sent        int        // connections that left by earlier ones
	received    int        // connections that came
	predecessor <-chan struct{}
	back        handback
	returners   []*returner // successors whose connections come back
}

func (c *Conns) init() {
	c.lot = live.NewLot(c.Exchange.Arrive)
	c.departure = NoDeparture()
}

// Close closes what is parked, and what nobody has taken. Take says so.
func (c *Conns) Close() {
	c.lot.Close()
	c.gifts.close()
}

// Succeeds says that connections may come from the predecessor until gone is closed.
func (c *Conns) Succeeds(gone <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.predecessor = gone
}

// Count returns how many connections have come and left so far.
func (c *Conns) Count() (arrived, moved int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.received, c.sent + c.departure.count()
}

// StayAll is called instead of Depart if the successor takes no connections. It ends their holding.
func (c *Conns) StayAll() *Departure {
	c.Exchange.Depart(func(live.Key) live.Departure { return nil }) // what is held is told that the state has moved
	return NoDeparture()
}

// Depart begins to move connections to the process at the other end of l, which has said m. socket finds what is at a place
// of the offer that m speaks of. Nothing departs if Flush was called.
func (c *Conns) Depart(l *link.Link, m *wire.Confirm, socket func(item int) (any, bool)) *Departure {
	d := c.newDeparture(l, m.Room)
	for _, t := range m.Takes {
		s, ok := socket(t.Item)
		if !ok {
			continue // it says so to nobody but itself
		}
		l := &lane{d: d, head: wire.Conns{Item: t.Item, Protocol: t.Protocol}}
		d.takes[live.Key{Socket: s, Protocol: t.Protocol}] = l
		d.lanes = append(d.lanes, l)
	}
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return NoDeparture()
	}
	c.sent += c.departure.count()
	c.departure = d
	c.mu.Unlock()
	leave := func(k live.Key) live.Departure {
		if l := d.takes[k]; l != nil {
			return l
		}
		return nil
	}
	c.Exchange.Depart(leave)
	c.lot.Depart(leave)
	c.forwardGifts()
	close(d.announced)
	d.bulk()
	// Not before there is something for full batches. The caller is a task, so Close waits for both.
	c.cfg.Task(d.closeCopies)
	c.cfg.Task(d.run)
	return d
}

// current is the departure in force, or the last one.
func (c *Conns) current() *Departure {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.departure
}

// give queues f for the other process.
func (c *Conns) give(f *gift) error {
	for {
		standing, changed := c.cfg.Standing()
		if c.current().give(f.name, f) {
			return nil
		}
		if standing != Deciding {
			return ErrNoSuccessor
		}
		select {
		case <-changed:
		case <-c.cfg.Context.Done():
			return ErrNoSuccessor
		}
	}
}

// forwardGifts passes on what nobody has taken, if there is a departure.
func (c *Conns) forwardGifts() {
	if !c.current().open() {
		return
	}
	for _, f := range c.gifts.all() {
		if c.give(f) != nil {
			c.gifts.put(f)
		}
	}
}

// expectTaker warns if nobody takes connections of this name: their clients wait for an answer. It is no mistake yet, since
// the program may call Take a little later.
func (c *Conns) expectTaker(name string) {
	if !c.gifts.expect(name) {
		return
	}
	c.cfg.Task(func() {
		select {
		case <-time.After(c.cfg.StepTimeout):
		case <-c.cfg.Context.Done():
			return
		}
		if n := c.gifts.untaken(name); n > 0 {
			c.Log.Warn("another generation has given connections that nobody takes; their clients wait: "+
				"is this program older, or calls it Take with another name?", "name", name, "connections", n)
		}
	})
}

// upstream are the processes that may pass connections on to this one. Each is a channel that is closed when the process is
// gone.
func (c *Conns) upstream() []<-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []<-chan struct{}
	if c.predecessor != nil {
		all = append(all, c.predecessor)
	}
	for _, r := range c.returners {
		all = append(all, r.gone)
	}
	return all
}

// countReceived counts connections that came.
func (c *Conns) countReceived(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received += n
}

func (c *Conns) addReturner(r *returner) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.returners = append(c.returners, r)
}

func (c *Conns) removeReturner(r *returner) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.returners = slices.DeleteFunc(c.returners, func(other *returner) bool { return other == r })
}
