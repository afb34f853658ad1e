package handoff

import (
	"slices"

	"github.com/segue-go/segue/handoff/internal/live"
)

// host is how package serve adds a Holder to a generation: see [live.AddHolder]. What Run does depends on whether there are
// sections that move in the gap, so State comes before Run.
type host = live.Host

func (g *Generation) addHolder(h live.Holder) (exact bool, remove func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.sections, func(s *section) bool { return s.Save != nil }), g.conns.Exchange.AddHolder(h)
}
