package handoff

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// confirmation says in CONFIRM what this generation can go on with.
func (g *Generation) confirmation(p *predecessor) *wire.Confirm {
	if !p.moves {
		return &wire.Confirm{}
	}
	m := &wire.Confirm{Room: room()}
	for _, k := range g.exchange.Keys() {
		r, ok := k.Socket.(*resource)
		if ok && r.inherited() && len(m.Takes) < wire.MaxTakes {
			m.Takes = append(m.Takes, wire.Take{Item: r.offer, Protocol: k.Protocol})
		}
	}
	return m
}

// room is for how many connections more this process has descriptors, if it keeps some for what it does itself: a
// sixteenth of RLIMIT_NOFILE, but 64 at least.
func room() int {
	var limit unix.Rlimit
	var st unix.Stat_t
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || unix.Stat("/proc/self/fd", &st) != nil {
		return 0
	}
	// The directory's size is the number of open descriptors since Linux 6.2 (fs/proc/fd.c: proc_fd_getattr).
	most := int64(min(limit.Cur, 1<<30))
	return int(max(most-st.Size-max(most/16, 64), 0))
}

// receiveConns takes a batch of connections from the predecessor, all or none, and answers. On an error nothing can be said
// to the predecessor any more.
func (g *Generation) receiveConns(p *predecessor, m *wire.Conns, f frame) error {
	n, answered, err := len(f.raw.FDs), false, f.lost
	if err == nil {
		err = g.parkConns(m, f.raw, func() error {
			answered = true
			err := p.link.send(&wire.Taken{Batch: m.Batch, Room: room()})
			if err != nil && over(err) && p.died(exitGrace) {
				return nil // so nobody else has them
			}
			return err
		})
	}
	if err == nil {
		g.mu.Lock()
		g.received += n
		g.mu.Unlock()
	}
	if err == nil || answered {
		return err
	}
	g.log.Warn("connections of the predecessor are not taken", "batch", m.Batch, "error", err)
	return p.link.send(&wire.Taken{Batch: m.Batch, Refused: err.Error(), Room: room()})
}

// parkConns takes those descriptors of raw that it sets to nil: all, or none on an error. ack comes before anything is read
// from one of them.
func (g *Generation) parkConns(m *wire.Conns, raw *fdpass.Message, ack func() error) error {
	records, err := wire.ParseRecords(m.Records, len(raw.FDs))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if err := g.mayReceive(); err != nil {
		return err
	}
	if err := checkConns(raw.FDs); err != nil {
		return err
	}
	if m.Protocol == "" {
		if err := ack(); err != nil {
			return err
		}
		for i, fd := range raw.FDs {
			g.gifts.put(&gift{gen: g, name: m.Name, fd: fd, state: append([]byte(nil), records[i].State...)})
			raw.FDs[i] = nil
		}
		g.passOn() // depart calls it too: whichever comes second finds what the other has left
		g.expectTaker(m.Name)
		return nil
	}
	k, err := g.arrivalKey(m)
	if err != nil {
		return err
	}
	now := time.Now()
	positions := make([]live.Position, len(records))
	for i, r := range records {
		positions[i].State = r.State
		if r.Expires >= 0 {
			positions[i].Expires = now.Add(r.Expires)
		}
	}
	if err := g.lot.Park(k, raw.FDs, positions, ack); err != nil {
		return err
	}
	clear(raw.FDs)
	return nil
}

// checkConns makes sure that fds are of the kind that becomes a connection. One that its client has reset is.
func checkConns(fds []*listener.FD) error {
	for i, fd := range fds {
		var domain, typ, listening int
		err := control(fd, func(n int) (err error) {
			if domain, err = unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil {
				return err
			}
			if typ, err = unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
				return err
			}
			listening, err = unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
			return err
		})
		inet := domain == unix.AF_INET || domain == unix.AF_INET6
		ok := inet && typ == unix.SOCK_STREAM || domain == unix.AF_UNIX && (typ == unix.SOCK_STREAM || typ == unix.SOCK_SEQPACKET)
		switch {
		case err != nil:
			return fmt.Errorf("%w: descriptor %d of CONNS is no socket: %w", ErrProtocol, i, err)
		case !ok || listening != 0:
			return fmt.Errorf("%w: descriptor %d of CONNS is no connection, but a socket of domain %d, type %d", ErrProtocol, i, domain, typ)
		}
	}
	return nil
}

// mayReceive is nil if this generation serves, or will, or passes on what comes.
func (g *Generation) mayReceive() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	undecided := g.attempt != nil && !g.attempt.departed // depart is about to look at what is here
	if g.phase != PhaseStopped && (g.phase != PhaseDraining || undecided || g.departure.open()) {
		return nil
	}
	return fmt.Errorf("%w, and has no successor to pass connections on to", ErrNotOwner)
}

// arrivalKey finds the socket that m means.
func (g *Generation) arrivalKey(m *wire.Conns) (live.Key, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.claimed {
		if r.inherited() && r.offer == m.Item {
			if k := (live.Key{Socket: r, Protocol: m.Protocol}); g.exchange.Serves(k) {
				return k, nil
			}
			break
		}
	}
	return live.Key{}, fmt.Errorf("nobody here serves connections of item %d by %.40q", m.Item, m.Protocol)
}

// giveAway passes f on to the successor.
func (g *Generation) giveAway(f *gift) error {
	g.mu.Lock()
	d := g.departure
	g.mu.Unlock()
	if d == nil || !d.give(f.name, f) {
		return ErrNoSuccessor
	}
	return nil
}

// passOn passes on what nobody has taken, if there is a successor.
func (g *Generation) passOn() {
	g.mu.Lock()
	open := g.departure.open()
	g.mu.Unlock()
	if !open {
		return
	}
	for _, f := range g.gifts.all() {
		if g.giveAway(f) != nil {
			g.gifts.put(f)
		}
	}
}

// expectTaker warns if nobody takes connections of this name: their clients wait for an answer. It is no mistake yet, since
// the program may call Take a little later.
func (g *Generation) expectTaker(name string) {
	if !g.gifts.expect(name) {
		return
	}
	g.task(func() {
		select {
		case <-time.After(g.cfg.StepTimeout):
		case <-g.ctx.Done():
			return
		}
		if n := g.gifts.untaken(name); n > 0 {
			g.log.Warn("the predecessor has given connections that nobody takes; their clients wait: "+
				"is this program older, or calls it Take with another name?", "name", name, "connections", n)
		}
	})
}
