// Package children keeps all processes that a program has started, with those that these started in turn. Generations of a
// server start each other, and the parent of most ends while they live on: such orphans become the program's own children. So it can tell how
// each of them ended, and end those that should not be there, each by its pid.
//
// It needs Linux.
package children

import "time"

// Exit is how a process ended.
type Exit struct {
	Code int // -1 if by a signal
	Text string
	At   time.Time
}
