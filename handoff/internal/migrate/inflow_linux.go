package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/live"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// Places are those of sockets in an offer, by which the two processes name them.
type Places interface {
	// Item returns the place of a socket, if it has one.
	Item(socket any) (item int, ok bool)
	// Socket returns what is at a place and still open here.
	Socket(item int) (socket any, ok bool)
}

// Inflow is where live connections come from: the process at the other end of a link.
type Inflow struct {
	c      *Conns
	link   *link.Link
	places Places

	mu     sync.Mutex // held while TAKEN is sent
	closed bool
}

// From returns what takes connections from the process at the other end of l.
func (c *Conns) From(l *link.Link, places Places) *Inflow {
	return &Inflow{c: c, link: l, places: places}
}

// Confirmation says in CONFIRM what this process can go on with.
func (in *Inflow) Confirmation() *wire.Confirm {
	m := &wire.Confirm{Room: credit()}
	for _, k := range in.c.Exchange.Keys() {
		if item, ok := in.places.Item(k.Socket); ok && len(m.Takes) < wire.MaxTakes {
			m.Takes = append(m.Takes, wire.Take{Item: item, Protocol: k.Protocol})
		}
	}
	return m
}

// credit is for how many connections more this process has descriptors, if it keeps some for what it does itself: a
// sixteenth of RLIMIT_NOFILE, but 64 at least.
func credit() int {
	open, limit, err := sys.Descriptors()
	if err != nil {
		return 0
	}
	most := min(limit, 1<<30)
	return max(most-open-max(most/16, 64), 0)
}

// attend takes batches until BYE, until the link or ctx ends, or until nothing can be answered any more. It returns how many
// connections came.
func (in *Inflow) attend(ctx context.Context) (n int, err error) {
	for {
		f, err := in.link.Recv(ctx, 0)
		if err != nil {
			return n, err
		}
		came := 0
		bye := false
		switch m := f.Msg.(type) {
		case *wire.Conns:
			came, err = in.Receive(m, f)
		case *wire.Bye:
			bye = true
		}
		f.Raw.Close()
		n += came
		if err != nil || bye {
			return n, err
		}
	}
}

// Receive takes a batch of connections, all or none, answers, and returns how many it took. On an error nothing can be said
// any more. The caller closes the descriptors of f that are left.
func (in *Inflow) Receive(m *wire.Conns, f link.Frame) (int, error) {
	n, answered, err := len(f.Raw.FDs), false, f.Lost
	if err == nil && in.isClosed() {
		err = errInflowClosed
	}
	if err == nil {
		err = in.park(m, f.Raw, func() error {
			err := in.answer(m.Batch)
			answered = !errors.Is(err, errInflowClosed)
			return err
		})
	}
	switch {
	case err == nil:
		in.c.countReceived(n)
		if told := in.c.cfg.Told; told != nil {
			told(Told{Given: m.Protocol == "", Count: n, Received: true})
		}
		return n, nil
	case answered:
		return 0, err
	case in.isClosed():
		return 0, nil // what is not answered is still the other side's
	}
	in.c.Log.Warn("connections are not taken", "from", in.link.Who(), "batch", m.Batch, "error", err)
	return 0, in.link.Send(&wire.Taken{Batch: m.Batch, Refused: err.Error(), Room: credit()})
}

var errInflowClosed = errors.New("nothing is taken any more")

// answer says TAKEN.
func (in *Inflow) answer(batch int) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return errInflowClosed
	}
	err := in.link.Send(&wire.Taken{Batch: batch, Room: credit()})
	if err != nil && link.Over(err) && in.link.Peer.Await(context.Background(), peer.ExitGrace) {
		return nil // so nobody else has them
	}
	return err
}

func (in *Inflow) isClosed() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.closed
}

// Close makes an end: from its return on no batch is taken.
func (in *Inflow) Close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
}

// park takes those descriptors of raw that it sets to nil: all, or none on an error. ack comes before anything is read from
// one of them.
func (in *Inflow) park(m *wire.Conns, raw *fdpass.Message, ack func() error) error {
	c := in.c
	records, err := wire.ParseRecords(m.Records, len(raw.FDs))
	if err != nil {
		return fmt.Errorf("%w: %w", wire.ErrProtocol, err)
	}
	if err := c.mayReceive(); err != nil {
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
			c.gifts.put(&gift{kept: &c.gifts, name: m.Name, fd: fd, state: append([]byte(nil), records[i].State...)})
			raw.FDs[i] = nil
		}
		c.forwardGifts() // Depart calls it too: whichever comes second finds what the other has left
		c.expectTaker(m.Name)
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
	if err := c.lot.Park(k, raw.FDs, positions, ack); err != nil {
		return err
	}
	clear(raw.FDs)
	return nil
}

// mayReceive is nil if this process serves, or will, or passes on what comes.
func (c *Conns) mayReceive() error {
	standing, _ := c.cfg.Standing()
	if standing == Serving || standing == Deciding || standing == Draining && c.current().open() {
		return nil
	}
	return errors.New("this generation does not own the sockets, and has no successor to pass connections on to")
}

// key finds the socket that m means.
func (in *Inflow) key(m *wire.Conns) (live.Key, error) {
	if socket, ok := in.places.Socket(m.Item); ok {
		if k := (live.Key{Socket: socket, Protocol: m.Protocol}); in.c.Exchange.Serves(k) {
			return k, nil
		}
	}
	return live.Key{}, fmt.Errorf("nobody here serves connections of item %d by %.40q", m.Item, m.Protocol)
}
