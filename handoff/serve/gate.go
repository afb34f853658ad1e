package serve

import (
	"context"
	"sync"
)

// gate holds requests while the program's state moves: those on connections that cannot be held themselves. It is
// needed only where there is such state.
type gate struct {
	drain *signal // told, so that endless responses end

	mu      sync.Mutex
	holds   int           // trackers that hold
	away    bool          // the state has moved to a successor: no request may change what is left here
	running int           // requests that have passed, on connections that cannot be held
	changed chan struct{} // closed when holds or away change; nil if nobody waits
	idle    chan struct{} // closed when nothing is running; nil if nobody waits
}

// enter waits until the request on s may go on. It returns false if it must not, because the state has moved. counted
// is for exit.
func (g *gate) enter(ctx context.Context, s *scope) (counted, ok bool) {
	held := s.isHeld()
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		switch {
		case g.away:
			return false, false
		case held:
			return false, true // who holds it knows of this request
		case g.holds == 0:
			g.running++
			s.running++
			return true, true
		}
		if g.changed == nil {
			g.changed = make(chan struct{})
		}
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		g.mu.Lock()
		if ctx.Err() != nil && g.holds > 0 {
			return false, false
		}
	}
}

// exit is called when the request is answered.
func (g *gate) exit(s *scope) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.running > 0 {
		s.running--
		g.end(1)
	}
}

// hijacked is called when the program has taken over the connection of s: that is not a request any more.
func (g *gate) hijacked(s *scope) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.end(s.running)
	s.running = 0
}

func (g *gate) end(n int) {
	if g.running -= n; g.running == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// quiet waits until no request is running that has passed.
func (g *gate) quiet(ctx context.Context) error {
	g.mu.Lock()
	if g.running == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.idle == nil {
		g.idle = make(chan struct{})
	}
	idle := g.idle
	g.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shut begins a hold.
func (g *gate) shut() { g.change(1, false) }

// leave ends a hold for good.
func (g *gate) leave() { g.change(-1, true) }

// open ends a hold, if held, and makes this generation the one that has the state.
func (g *gate) open(held bool) {
	if held {
		g.change(-1, false)
	} else {
		g.change(0, false)
	}
}

func (g *gate) change(holds int, away bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holds += holds
	g.away = away
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
	switch {
	case holds > 0:
		g.drain.begin()
	case holds < 0:
		g.drain.end()
	}
}
