package driver

import (
	"errors"

	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/succession"
)

// Claim adds what find returns to what this generation has, and opens it if this generation owns.
func (d *Driver) Claim(find func() (*sockets.Socket, error)) (*sockets.Socket, error) {
	s, err := d.findAndAdd(find)
	if err != nil {
		d.mu.Lock()
		d.refused = err
		d.mu.Unlock()
	}
	return s, err
}

func (d *Driver) findAndAdd(find func() (*sockets.Socket, error)) (*sockets.Socket, error) {
	if err := d.mayClaim(); err != nil {
		return nil, err
	}
	s, err := find()
	if inUse := (*sockets.InUseError)(nil); errors.As(err, &inUse) && len(inUse.Unclaimed) == 0 {
		err = d.maybeUnreachable(err)
	}
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	if err = d.mayClaimLocked(); err == nil { // no switch begins meanwhile
		err = d.Sockets.Add(s, d.phase.Owns())
	}
	d.mu.Unlock()
	if err != nil {
		d.Sockets.Abandon(s)
		return nil, err
	}
	if f := d.cfg.Opened; f != nil {
		f(s)
	}
	return s, nil
}

func (d *Driver) mayClaim() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mayClaimLocked()
}

func (d *Driver) mayClaimLocked() error {
	switch {
	case d.endsLocked():
		return d.closedLocked()
	case d.phase.Owns(), d.phase == succession.PhaseStarting:
		return nil
	default:
		return ErrNotOwner
	}
}

// Withdraw closes a socket at the program's wish. A second call gives the error that net gives.
func (d *Driver) Withdraw(s *sockets.Socket) error {
	d.mu.Lock() // no switch begins meanwhile
	owns := d.phase.Owns()
	owner := owns || s.Sole()
	removed := d.Sockets.Remove(s)
	d.mu.Unlock()
	if place, inherited := s.Place(); removed && inherited && owns {
		d.sendDrop(place)
	}
	if f := d.cfg.Closed; removed && f != nil {
		f(s)
	}
	return s.CloseAs(owner)
}
