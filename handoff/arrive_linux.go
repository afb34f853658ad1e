package handoff

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

// inflow is where live connections come from: the process at the other end of a link, which knows the sockets by their
// place in an offer.
type inflow struct {
	g     *Generation
	link  *link.Link
	place func(*resource) (item int, ok bool) // in that offer

	mu     sync.Mutex // held while TAKEN is sent
	closed bool
}

// confirmation says in CONFIRM what this generation can go on with.
func (in *inflow) confirmation() *wire.Confirm {
	m := &wire.Confirm{Room: room()}
	for _, k := range in.g.exchange.Keys() {
		r, ok := k.Socket.(*resource)
		if !ok || len(m.Takes) == wire.MaxTakes {
			continue
		}
		if item, ok := in.place(r); ok {
			m.Takes = append(m.Takes, wire.Take{Item: item, Protocol: k.Protocol})
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

// attend takes batches until the link or ctx ends, nothing can be answered any more, or heard says so, which is called with
// all else that is said. It returns how many connections came.
func (in *inflow) attend(ctx context.Context, heard func(wire.Message) (over bool)) (n int, err error) {
	for {
		f, err := in.link.Recv(ctx, 0)
		if err != nil {
			return n, err
		}
		if m, ok := f.Msg.(*wire.Conns); ok {
			k, err := in.receive(m, f)
			f.Raw.Close()
			n += k
			if err != nil {
				return n, err
			}
			continue
		}
		f.Raw.Close()
		if heard(f.Msg) {
			return n, nil
		}
	}
}

// receive takes a batch of connections, all or none, answers, and returns how many it took. On an error nothing can be said
// any more.
func (in *inflow) receive(m *wire.Conns, f link.Frame) (int, error) {
	g := in.g
	n, answered, err := len(f.Raw.FDs), false, f.Lost
	if err == nil && in.isClosed() {
		err = errInflowClosed
	}
	if err == nil {
		err = in.park(m, f.Raw, func() error {
			err := in.taken(m.Batch)
			answered = !errors.Is(err, errInflowClosed)
			return err
		})
	}
	if err == nil {
		g.mu.Lock()
		g.received += n
		g.mu.Unlock()
	}
	switch {
	case err == nil:
		return n, nil
	case answered:
		return 0, err
	case in.isClosed():
		return 0, nil // what is not answered is still the other side's
	}
	g.log.Warn("connections are not taken", "from", in.link.Who(), "batch", m.Batch, "error", err)
	return 0, in.link.Send(&wire.Taken{Batch: m.Batch, Refused: err.Error(), Room: room()})
}

var errInflowClosed = errors.New("nothing is taken any more")

// taken says TAKEN.
func (in *inflow) taken(batch int) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return errInflowClosed
	}
	err := in.link.Send(&wire.Taken{Batch: batch, Room: room()})
	if err != nil && link.Over(err) && in.link.Peer.Await(context.Background(), link.ExitGrace) {
		return nil // so nobody else has them
	}
	return err
}

func (in *inflow) isClosed() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.closed
}

// close makes an end: from its return on no batch is taken.
func (in *inflow) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
}

// park takes those descriptors of raw that it sets to nil: all, or none on an error. ack comes before anything is read from
// one of them.
func (in *inflow) park(m *wire.Conns, raw *fdpass.Message, ack func() error) error {
	g := in.g
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
	k, err := in.key(m)
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
		err := sys.Control(fd, func(n int) (err error) {
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

// departureUndecidedLocked reports whether this generation is superseded, and depart is about to look at what is here.
func (g *Generation) departureUndecidedLocked() bool {
	return g.phase == PhaseDraining && g.attempt != nil && !g.attempt.departed && g.toSuccessor == succession.Guard
}

// mayReceive is nil if this generation serves, or will, or passes on what comes.
func (g *Generation) mayReceive() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.phase != PhaseStopped && (g.phase != PhaseDraining || g.departureUndecidedLocked() || g.departure.open()) {
		return nil
	}
	return fmt.Errorf("%w, and has no successor to pass connections on to", ErrNotOwner)
}

// key finds the socket that m means.
func (in *inflow) key(m *wire.Conns) (live.Key, error) {
	in.g.mu.Lock()
	defer in.g.mu.Unlock()
	for _, r := range in.g.claimed {
		if item, ok := in.place(r); ok && item == m.Item {
			if k := (live.Key{Socket: r, Protocol: m.Protocol}); in.g.exchange.Serves(k) {
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
	for g.departureUndecidedLocked() && !g.departure.open() { // it is, in a moment
		news := g.news
		g.mu.Unlock()
		select {
		case <-news:
		case <-g.ctx.Done():
			return ErrNoSuccessor
		}
		g.mu.Lock()
	}
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
			g.log.Warn("another generation has given connections that nobody takes; their clients wait: "+
				"is this program older, or calls it Take with another name?", "name", name, "connections", n)
		}
	})
}
