// Package timeline has the types in which a chain of generations says what it does: the record of one handoff, joined from both
// processes; the totals of the chain; what generations do now; and the events of a Trace.
//
// It does no input or output, and links nothing of segue: whatever shows handoffs (metrics, traces, a page, a command) can use it
// without package handoff, which fills it in. See handoff.Generation's History, Counters and Chain, and handoff.Config.Trace.
//
// In JSON all have the members that their fields say. Durations are whole nanoseconds, times are RFC 3339. A later release may
// add members and words; [Version] changes only if somebody who knows the last one would misunderstand.
package timeline

// Version is that of the JSON of this package.
const Version = 1

// Bounds of what is kept.
const (
	// MaxHandoffs is how many handoffs are kept: the last ones.
	MaxHandoffs = 32
	// MaxText is the most bytes of Handoff.Error and of Handoff.Output: what is longer is cut in the middle.
	MaxText = 4 << 10
	// MaxList is the most entries of a list of one Handoff: sections, what was refused, and the like.
	MaxList = 64
	// MaxName is the most bytes of a name in one.
	MaxName = 255
)
