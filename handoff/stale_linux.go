package handoff

import (
	"fmt"
)

// revive does what the sections that have moved say of a revival.
func (m *sectionsMoving) revive(g *Generation) error {
	for _, s := range m.exact {
		if s.Revival == RevivalForbid {
			return fmt.Errorf("%w: section %q", ErrStale, s.name)
		}
	}
	ctx, cancel := g.stateTime(g.ctx)
	defer cancel()
	for _, s := range g.sections {
		if s.Revival != RevivalCall || !m.has(s) {
			continue
		}
		if err := g.callBack(ctx, s, "Revived", s.Revived); err != nil {
			return fmt.Errorf("%w: %w", ErrStale, err)
		}
	}
	return nil
}

func (m *sectionsMoving) has(s *section) bool {
	for _, list := range [][]*section{m.ahead, m.exact} {
		for _, other := range list {
			if other == s {
				return true
			}
		}
	}
	return false
}

// goStale ends this generation, which nobody else succeeds: its state is behind.
func (g *Generation) goStale(err error) {
	g.mu.Lock()
	g.stale, g.lost, g.lastError = err, err, err
	s := g.succession
	g.mu.Unlock()
	g.log.Error("this generation ends: its state is behind what its successor had made of it; start it anew", "error", err)
	s.end(ErrStale)
	g.stop()
}
