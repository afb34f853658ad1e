package driver

import (
	"time"

	"github.com/segue-go/segue/handoff/internal/migrate"
	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// standing tells package migrate what becomes of connections that come to this generation.
func (d *Driver) standing() (migrate.Standing, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.phase == succession.PhaseStopped:
		return migrate.Over, d.news
	case d.phase != succession.PhaseDraining:
		return migrate.Serving, d.news
	case d.attempt != nil && !d.attempt.departureKnown && d.toSuccessor == succession.Guard:
		return migrate.Deciding, d.news
	default:
		return migrate.Draining, d.news
	}
}

// places are the places of this generation's sockets in an offer.
type places struct {
	set *sockets.Set
	of  func(*sockets.Socket) (item int, ok bool)
}

// inheritedPlaces are the places in the predecessor's offer.
func (d *Driver) inheritedPlaces() places { return places{&d.Sockets, (*sockets.Socket).Place} }

// places are the places in the offer to the successor.
func (a *attempt) places() places { return places{&a.d.Sockets, a.manifest.Place} }

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
		a.departure = a.d.Conns.Depart(a.link, m, func(item int) (any, bool) {
			if item >= a.manifest.Len() {
				return nil, false
			}
			return a.manifest.Sockets()[item], true
		})
	} else {
		a.departure = a.d.Conns.StayAll()
	}
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	a.departureKnown = true
	a.d.tellNewsLocked()
}

// flush waits until the connections that move, or are about to, have arrived, and until the requests that this generation has
// accepted are answered. It waits no longer than within, from begun on. After it nothing moves any more.
func (d *Driver) flush(begun time.Time, within time.Duration) {
	d.mu.Lock()
	var over event
	if d.attempt != nil {
		over = d.attempt.confirmOver
	}
	d.mu.Unlock()
	if !over.none() { // the successor owns, or is about to, and says so at once
		t := time.NewTimer(d.cfg.StepTimeout)
		defer t.Stop()
		select {
		case <-over.c:
		case <-t.C:
		}
	}
	d.Conns.Flush(begun, finishWithin(within))
}
