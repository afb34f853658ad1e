package serve

import (
	"context"
	"sync"
)

// gate counts the requests that are being answered, and lets none begin while the program's state moves: only those on
// connections that are held by themselves, since what has been read of these must be answered here. It is needed only
// where there is such state. Its mu is taken before that of a tracked connection.
type gate struct {
	mu      sync.Mutex
	shut    bool          // no request begins
	away    bool          // the state has moved to a successor: no request may change what is left here
	round   uint64        // one more with each awaitBegun
	newer   int           // requests that have begun in this round
	older   int           // and before
	changed chan struct{} // closed when shut or away change; nil if nobody waits
	idle    chan struct{} // closed when older becomes 0; nil if nobody waits
}

// enter waits until the request on s may go on, and returns the round in which it has begun, for exit. It returns false
// if it must not, because the state has moved or ctx has ended.
func (g *gate) enter(ctx context.Context, s *scope) (round uint64, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for !g.away {
		if !g.shut || s.isHeld() {
			g.newer++
			s.running++
			s.round, s.used = g.round, true
			return g.round, true
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
		if ctx.Err() != nil && g.shut {
			return 0, false
		}
	}
	return 0, false
}

// exit is called when the request is answered.
func (g *gate) exit(s *scope, round uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.running > 0 {
		s.running--
		g.end(1, round)
	}
}

// hijacked is called when the program has taken over the connection of s: that is not a request any more.
func (g *gate) hijacked(s *scope) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.end(s.running, s.round) // over HTTP/1 there is one at most
	s.running = 0
}

// end is called with mu held.
func (g *gate) end(n int, round uint64) {
	if round == g.round {
		g.newer -= n
	} else {
		g.older -= n
	}
	if g.older == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// awaitBegun begins a round, and waits until the requests that had begun before are answered.
func (g *gate) awaitBegun(ctx context.Context) error {
	g.mu.Lock()
	g.round++
	g.older, g.newer = g.older+g.newer, 0
	if g.older == 0 {
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

// set says what becomes of requests.
func (g *gate) set(shut, away bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.away = shut, away
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// abandon makes a gate that is shut one behind which the state has moved, and reports whether it was shut.
func (g *gate) abandon() bool {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut {
		g.set(false, true)
	}
	return shut
}

// begun reports how many requests on s are being answered: all, or those of earlier rounds.
func (g *gate) begun(s *scope, all bool) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if all || s.round != g.round {
		return s.running
	}
	return 0
}

// left returns how many requests are being answered: all, or those of earlier rounds.
func (g *gate) left(all bool) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if all {
		return g.older + g.newer
	}
	return g.older
}
