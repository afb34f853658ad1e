package handoff

import (
	"time"

	"github.com/segue-go/segue/handoff/internal/migrate"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// standing tells package migrate what becomes of connections that come to this generation.
func (g *Generation) standing() (migrate.Standing, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.phase == PhaseStopped:
		return migrate.Over, g.news
	case g.phase != PhaseDraining:
		return migrate.Serving, g.news
	case g.attempt != nil && !g.attempt.departed && g.toSuccessor == succession.Guard:
		return migrate.Deciding, g.news
	default:
		return migrate.Draining, g.news
	}
}

// places are those of this generation's sockets in an offer.
type places struct {
	set *sockets.Set
	of  func(*sockets.Socket) (item int, ok bool)
}

// inheritedPlaces are those in the predecessor's offer.
func (g *Generation) inheritedPlaces() places { return places{&g.sockets, (*sockets.Socket).Place} }

// places are those in the offer to the successor.
func (a *attempt) places() places { return places{&a.g.sockets, a.manifest.Place} }

// Item is part of migrate.Places.
func (p places) Item(socket any) (item int, ok bool) {
	s, ok := socket.(*sockets.Socket)
	if !ok {
		return 0, false
	}
	return p.of(s)
}

// Socket is part of migrate.Places.
func (p places) Socket(item int) (socket any, ok bool) {
	for _, s := range p.set.All() {
		if at, ok := p.of(s); ok && at == item {
			return s, true
		}
	}
	return nil, false
}

// depart begins to move connections, if the successor takes any.
func (a *attempt) depart(m *wire.Confirm) {
	if a.moves {
		a.departure = a.g.conns.Depart(a.link, m, func(item int) (any, bool) {
			if item >= a.manifest.Len() {
				return nil, false
			}
			return a.manifest.Sockets()[item], true
		})
	} else {
		a.departure = a.g.conns.StayAll()
	}
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	a.departed = true
	a.g.tellNewsLocked()
}

// flush lets what is moving arrive, or is about to move, before this generation ends. After it nothing moves any more. What
// has been asked of this generation is answered before, within that time from begun on.
func (g *Generation) flush(begun time.Time, within time.Duration) {
	g.mu.Lock()
	var settled event
	if g.attempt != nil {
		settled = g.attempt.settled
	}
	g.mu.Unlock()
	if settled.c != nil { // the successor owns, or is about to, and says so at once
		t := time.NewTimer(g.cfg.StepTimeout)
		defer t.Stop()
		select {
		case <-settled.c:
		case <-t.C:
		}
	}
	g.conns.Flush(begun, finishWithin(within))
}
