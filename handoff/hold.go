package handoff

import (
	"slices"

	"github.com/segue-go/segue/handoff/internal/live"
)

// AddHolder is for package serve: h stops requests while sections of state move. exact reports whether there are any
// that move in the gap of the switch: what Run does depends on it, so State comes before Run. remove undoes it. No other
// package can make a Holder.
func (g *Generation) AddHolder(h live.Holder) (exact bool, remove func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.sections, func(s *section) bool { return s.Save != nil }), g.conns.Exchange.AddHolder(h)
}
