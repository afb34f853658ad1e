package sockets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// Manifest is what one successor was offered, by place. The zero value is for a successor that was offered nothing yet. It belongs
// to the goroutine that drives the handover.
type Manifest struct {
	set     *Set
	changes int // of the set, when it was made
	sockets []*Socket
	claimed []bool // by the successor; nil until it has said
}

// Manifest lists all of the set, and the rendezvous, if there is one.
func (s *Set) Manifest(rendezvous *Socket) Manifest {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := Manifest{set: s, changes: s.changes, sockets: slices.Clone(s.claimed)}
	if rendezvous != nil {
		m.sockets = append(m.sockets, rendezvous)
	}
	return m
}

// Len is how many sockets there are.
func (m *Manifest) Len() int { return len(m.sockets) }

// Sockets returns all, by place.
func (m *Manifest) Sockets() []*Socket { return m.sockets }

// Place returns the place of o.
func (m *Manifest) Place(o *Socket) (place int, ok bool) {
	i := slices.Index(m.sockets, o)
	return i, i >= 0
}

// Items returns what the successor is told of each socket, and the sockets themselves, to send.
func (m *Manifest) Items() (items []wire.Item, conns []syscall.Conn) {
	for _, o := range m.sockets {
		item := o.item
		if o.sock != nil {
			item.UnlinkOnClose = o.sock.UnlinkOnClose()
			item.Unlink = o.unlinkNow()
			item.Bound = o.offerBacklog()
		}
		items, conns = append(items, item), append(conns, o)
	}
	return items, conns
}

// unlinkNow is what the manifest says of the file now: a successor that was built with an older segue removes it only if
// its ctime is the one that it was told, too.
func (o *Socket) unlinkNow() *wire.Unlink {
	u := o.item.Unlink
	if u == nil {
		return nil
	}
	now, err := listener.StatUnixPath(u.Path)
	if err != nil || now.Dev != u.Dev || now.Ino != u.Ino {
		return u
	}
	return (*wire.Unlink)(now)
}

// Receipt says what identifies an open file: status flags other than the access mode may change at any time.
func Receipt(i listener.Info) wire.Receipt {
	return wire.Receipt{Cookie: i.Cookie, Dev: i.Dev, Ino: i.Ino, Flags: i.Flags & unix.O_ACCMODE}
}

// Claim notes which sockets the successor's program has asked for.
func (m *Manifest) Claim(claimed []bool) { m.claimed = claimed }

// asked returns what the successor's program has asked for.
func (m *Manifest) asked() (all []*Socket) {
	for i, claimed := range m.claimed {
		if claimed {
			all = append(all, m.sockets[i])
		}
	}
	return all
}

// Changed reports whether sockets were added to the set, or removed, since the manifest was made.
func (m *Manifest) Changed() bool {
	m.set.mu.Lock()
	defer m.set.mu.Unlock()
	return m.set.changes != m.changes
}

// Give says that from here on the successor may have what it asked for: the paths may be its own.
func (m *Manifest) Give() {
	for _, o := range m.asked() {
		o.sole.Store(false)
	}
}

// Pause pauses what the successor asked for. On return no accept is in flight.
func (m *Manifest) Pause() error {
	for _, o := range m.asked() {
		if o.sock == nil {
			continue
		}
		if err := o.sock.Pause(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("%s: %w", o.item.Name, err)
		}
	}
	return nil
}

// Park takes out of the poller what the successor asked for, and owns now.
func (m *Manifest) Park() error { return park(m.asked()) }

// RetireUnclaimed closes what the successor did not ask for. What is in the queues is accepted first.
func (m *Manifest) RetireUnclaimed(ctx context.Context) {
	for i, o := range m.sockets {
		if m.claimed[i] || o.sock == nil {
			continue
		}
		m.set.Log.Info("the successor did not ask for it; closed", "name", o.item.Name)
		o.Retire(ctx)
	}
}

// CloseCopy closes this process's copy of a socket that the successor has closed.
func (m *Manifest) CloseCopy(place int) {
	if place >= len(m.sockets) || m.sockets[place].sock == nil || m.sockets[place].item.Kind == wire.KindRendezvous {
		return
	}
	o := m.sockets[place]
	if o.closed != nil {
		o.closed(o)
	}
	if err := o.Vacate(); err != nil {
		m.set.Log.Warn("close a copy", "name", o.item.Name, "error", err)
	}
}

// Reopen is [Reopen] for all that was offered.
func (m *Manifest) Reopen(ctx context.Context, locked func(f func(untold bool))) (again []*Socket, errs error) {
	return Reopen(ctx, m.sockets, locked)
}

// Claimed says of each socket whether the successor's program asked for it; false for all as long as it has not said.
func (m *Manifest) Claimed() []bool {
	claimed := make([]bool, len(m.sockets))
	copy(claimed, m.claimed)
	return claimed
}
