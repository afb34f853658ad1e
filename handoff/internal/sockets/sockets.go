// Package sockets is what a generation holds and can hand over: its listeners, packet sockets and files, by name. It finds what
// the program asks for, and has all of it pause, park, open and close together.
//
// A [Set] is what a process has, a [Manifest] the same as one successor was offered it. Who owns, and what is said to
// whom, is decided elsewhere.
package sockets

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/listener"
)

// Set is what a generation has. The exported fields are set before the first socket is asked for, and not changed afterwards;
// the zero value has no sources. Its methods may be called concurrently.
//
// Its lock is held for no longer than it takes to read or change a list. Sockets are opened under it, so that each of them is
// either found by Open or opened by Add; nothing else is called while it is held.
type Set struct {
	Log     *slog.Logger
	Sources []Source
	Lock    func(ctx context.Context, f func() error) error // calls f while nobody else looks at stale paths; nil: just calls it
	Closed  func(*Socket)                                   // told of what a handover closes for good; nil: nobody is
	Opened  func(*Socket)                                   // told of what was closed so and is bound again; likewise

	mu          sync.Mutex
	claimed     []*Socket // what the program asked for, in that order
	unclaimed   []*Socket // what the predecessor offered and nobody has asked for
	sealed      bool      // the predecessor was told what nobody asked for: too late to ask
	changes     int       // sockets added and removed so far
	toldControl bool      // see tellControl
}

// Add makes a socket that Listen, ListenPacket or File has returned one of the set. If open, it is opened, so that a switch that
// begins now finds it either open or not there: the caller holds what keeps a switch from beginning. On an error Abandon must
// follow.
func (s *Set) Add(o *Socket, open bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if open && o.sock != nil {
		if err := o.sock.Open(); err != nil {
			return err
		}
	}
	s.claimed = append(s.claimed, o)
	s.changes++
	o.given.keep()
	return nil
}

// Abandon lets go of a socket that was not added. What a Source gave goes back to it.
func (s *Set) Abandon(o *Socket) {
	_ = o.CloseAs(o.Sole())
	o.given.giveBack()
}

// Remove takes o out of the set. It returns false if it is not there, or not any more. The caller closes it.
func (s *Set) Remove(o *Socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.claimed, o)
	if i < 0 {
		return false
	}
	s.claimed = slices.Delete(slices.Clone(s.claimed), i, i+1)
	s.changes++
	return true
}

// Take empties the set, and returns what was in it: what the program asked for, and what it did not. The caller closes it.
func (s *Set) Take() []*Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Concat(s.claimed, s.unclaimed)
	s.claimed, s.unclaimed = nil, nil
	return all
}

// All returns what the program asked for, in that order.
func (s *Set) All() []*Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.claimed)
}

// Len is how many the program asked for.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.claimed)
}

// Adopt takes fd, which the predecessor offered as item at this place, until the program asks for it.
func (s *Set) Adopt(item wire.Item, fd *listener.FD, place int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unclaimed = append(s.unclaimed, &Socket{item: item, fd: fd, place: place})
}

// Seal is called when the predecessor is told what the program asked for: from then on nothing that
// it offered is found.
func (s *Set) Seal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
}

// Inherited returns what the program has of the n things that the predecessor offered, by their place in the offer. What it has
// not is nil.
func (s *Set) Inherited(n int) []*Socket {
	all := make([]*Socket, n)
	for _, o := range s.All() {
		if place, ok := o.Place(); ok && place < n {
			all[place] = o
		}
	}
	return all
}

// ClaimAll claims all that was offered, as it is: nothing is listened on or opened here.
func (s *Set) ClaimAll() []*Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.unclaimed {
		o.item.Bound = false
	}
	s.claimed, s.unclaimed = append(s.claimed, s.unclaimed...), nil
	return slices.Clone(s.claimed)
}

// CloseUnclaimed closes this process's copies of what the program did not ask for.
func (s *Set) CloseUnclaimed() {
	s.mu.Lock()
	unclaimed := s.unclaimed
	s.unclaimed = nil
	s.mu.Unlock()
	for _, o := range unclaimed {
		s.Log.Info("not asked for; the predecessor closes it", "name", o.item.Name)
		_ = o.CloseAs(false)
	}
}

// Open opens every socket. On an error none is open.
func (s *Set) Open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.claimed {
		if o.sock == nil {
			continue
		}
		if err := o.sock.Open(); err != nil {
			for _, opened := range s.claimed {
				if opened.sock != nil {
					_ = opened.sock.Pause()
				}
			}
			return fmt.Errorf("%s: %w", o.item.Name, err)
		}
	}
	return nil
}

// Arm makes every socket ready to be opened, because after the commit nothing may fail.
func (s *Set) Arm() error {
	for _, o := range s.All() {
		if o.sock == nil {
			continue
		}
		if err := o.sock.Arm(); err != nil {
			return fmt.Errorf("inherited %s: %w", o.item.Name, err)
		}
	}
	return nil
}

// WithoutAccepting calls f while no listener accepts. The caller sees to it that they are all open, and that nobody pauses them
// meanwhile.
func (s *Set) WithoutAccepting(f func()) {
	for _, o := range s.All() {
		if l, ok := o.sock.(*listener.Listener); ok && l.Pause() == nil {
			defer func() { _ = l.Open() }() // it takes no descriptor, and the error is that it was closed
		}
	}
	f()
}

// Own returns the sockets that nobody but this process has.
func (s *Set) Own() (own []*Socket) {
	for _, o := range s.All() {
		if o.Sole() && o.sock != nil {
			own = append(own, o)
		}
	}
	return own
}

// Vacate closes the copies of listeners that somebody else owns: they would keep ports open, should that process end. Accept
// goes on until the listeners are closed for good.
func (s *Set) Vacate() {
	for _, o := range s.All() {
		if err := o.Vacate(); err != nil {
			s.Log.Warn("close a copy", "name", o.item.Name, "error", err)
		}
	}
}
