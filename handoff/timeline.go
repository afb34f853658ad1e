package handoff

import "github.com/segue-go/segue/handoff/timeline"

// Trace is a set of functions that observe a generation.
type Trace = timeline.Trace

// History returns the records of the last handoffs of the chain, 32 at most, the oldest first: also of those in which this
// process had no part, and the one that is under way. They travel along the chain, from one generation to the next, before
// the sockets do. Records come from a predecessor of another release only if that knows them.
//
// What the other side knows of a handoff comes as far as its link carries it. A record that has only this side's half says so
// (Halves).
func (g *Generation) History() []timeline.Handoff { return g.driver.History() }

// Counters returns the totals of the chain since its first generation.
func (g *Generation) Counters() timeline.Counters { return g.driver.Counters() }

// Chain returns what this generation does now, and the older ones that still drain, as they have last told it over their links.
func (g *Generation) Chain() timeline.Chain { return g.driver.Chain() }
