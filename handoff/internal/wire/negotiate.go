package wire

import "slices"

// Versions returns the versions that this package speaks, for [Hello] and [Refuse].
func Versions() []int { return []int{Version} }

// Negotiate returns the highest version that both sides speak; false if there is none.
func Negotiate(mine, theirs []int) (int, bool) {
	best, ok := 0, false
	for _, v := range mine {
		if slices.Contains(theirs, v) && (!ok || v > best) {
			best, ok = v, true
		}
	}
	return best, ok
}

// Common returns the features of mine that are in theirs too, each once, in the order of mine.
func Common(mine, theirs []string) []string {
	var both []string
	for _, f := range mine {
		if slices.Contains(theirs, f) && !slices.Contains(both, f) {
			both = append(both, f)
		}
	}
	return both
}
