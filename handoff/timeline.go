package handoff

import "github.com/segue-go/segue/handoff/timeline"

// Trace is a set of functions that observe a generation.
type Trace = timeline.Trace

// History returns the records of the last handoffs of the chain, 32 at most, the oldest first: also of those in which this
// process had no part, and the one that is under way. They travel along the chain, from one generation to the next, before
// the sockets do. Records come from a predecessor of another release only if that knows them.
//
// A caller at the rendezvous with which no handoff could begin has a record as well, if that is somebody's mistake: another version, or
// one that is not authorized. There is one for each reason and user, of the last such caller, 8 at most, so that a flood does not push
// out the others; each counts once. A dry run has none.
//
// What the other side knows of a handoff comes as far as its link carries it. A record that has only this side's half says so
// (Halves).
func (g *Generation) History() []timeline.Handoff { return g.driver.History() }

// Counters returns the totals of the chain since its first generation. They travel with the sockets, and only the generation that
// owns counts. So a series of them, as somebody sees who asks whoever serves, does this:
//
//	A handoff is done               goes on: the successor has the totals before it owns
//	It fails before the successor   goes on: the incumbent has counted nothing meanwhile, and counts now
//	  owns, or the heir takes over
//	The successor gives the         goes on with the successor's: they come back before the sockets do.
//	  sockets back                  If they do not arrive: as in the next row
//	The successor dies and this     begins at 0, since the successor may have counted more than is known here; but
//	  one is revived, once or       those of undone handoffs go on, which the successor cannot have counted while
//	  several times                 this one guarded it
//	A rescue, or a first            begins at 0
//	  generation after a crash
//	The predecessor is of a release begins at 0
//	  without this, or its report
//	  did not fit the socket
//
// It never falls to a value that is smaller and not 0. A handoff that was done, and whose successor gave the sockets back or died after that,
// is counted as done and as revived.
func (g *Generation) Counters() timeline.Counters { return g.driver.Counters() }

// Chain returns what this generation does now, and the older ones that still drain, as they have last told it over their links.
func (g *Generation) Chain() timeline.Chain { return g.driver.Chain() }
