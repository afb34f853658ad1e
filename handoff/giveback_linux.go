package handoff

import (
	"fmt"

	"github.com/segue-go/segue/handoff/internal/wire"
)

// giveBack is what follows when the sockets have gone back: this generation owns nothing any more, and answers what it has
// accepted. With the feature, its connections follow the sockets as soon as the predecessor says CONFIRM: those that are idle at
// once, the others when they are answered. Otherwise, and when the link ends, their clients are told to leave. Wait or Close sees
// to the end. own is what the predecessor does not have, and so nobody serves any more.
func (g *Generation) giveBack(own []*resource, cause error) {
	for _, r := range own {
		g.retire(r)
	}
	g.letGoOfCopies()
	g.yield(fmt.Errorf("%w: %w", ErrHandedBack, cause))
}

// ownLocked returns the sockets that this generation has bound, and nobody else has.
func (g *Generation) ownLocked() (own []*resource) {
	for _, r := range g.claimed {
		if r.fresh && r.sock != nil {
			own = append(own, r)
		}
	}
	return own
}

// letGoOfCopies closes what somebody else owns: the copies would keep ports open, should that process end. Accept goes on
// until this generation is over. It cannot be revived from here on.
func (g *Generation) letGoOfCopies() {
	g.mu.Lock()
	claimed, rendezvous := g.claimed, g.rendezvous
	g.mu.Unlock()
	for _, r := range claimed {
		if err := r.vacate(); err != nil {
			g.log.Warn("close a copy", "name", r.item.Name, "error", err)
		}
	}
	if rendezvous != nil {
		rendezvous.giveUp(false)
	}
	g.released.happen()
}

// returnTo moves connections to the predecessor, which has the sockets again and has said m, until its link ends.
func (g *Generation) returnTo(p *predecessor, m *wire.Confirm) {
	g.conns.Return(p.link, m, g.inheritedPlaces().Socket)
}

// handingBack reports whether the sockets go back to the predecessor, or have.
func (g *Generation) handingBack() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.toPredecessor.HandedBack()
}
