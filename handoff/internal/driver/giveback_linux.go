package driver

import (
	"fmt"

	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// giveBack is what follows when the sockets have gone back: this generation owns nothing any more, and answers what it has
// accepted. With the feature, its connections follow the sockets as soon as the predecessor says CONFIRM: those that are idle at
// once, the others when they are answered. Otherwise, and when the link ends, their clients are told to leave. Wait or Close sees
// to the end. own is what the predecessor does not have, and so nobody serves any more.
func (d *Driver) giveBack(own []*sockets.Socket, cause error) {
	for _, s := range own {
		s.Retire(d.ctx)
	}
	d.letGoOfCopies()
	d.yield(fmt.Errorf("%w: %w", ErrHandedBack, cause))
}

// letGoOfCopies closes what somebody else owns: the copies would keep ports open, should that process end. Accept goes on
// until this generation is over. It cannot be revived from here on.
func (d *Driver) letGoOfCopies() {
	d.Sockets.Vacate()
	d.mu.Lock()
	rendezvous := d.rendezvous
	d.mu.Unlock()
	if rendezvous != nil {
		_ = rendezvous.CloseAs(false)
	}
	d.released.happen()
}

// returnTo moves connections to the predecessor, which has the sockets again and has said m, until its link ends.
func (d *Driver) returnTo(p *predecessor, m *wire.Confirm) {
	d.Conns.Return(p.link, m, d.inheritedPlaces().Socket)
}

// handingBack reports whether the sockets go back to the predecessor, or have.
func (d *Driver) handingBack() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.toPredecessor.HandedBack()
}
