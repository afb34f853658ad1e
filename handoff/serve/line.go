package serve

import "slices"

// line has the connections of a tracker in the order in which they came, which is the one to move them in, see
// [live.Departure]. It is a slice rather than a list, so that who asks for all need not look at each. The zero value is
// empty.
type line struct {
	conns []*tracked // nil where one has left
	holes int
}

// add appends c, which is in no line.
func (l *line) add(c *tracked) {
	if l.holes > len(l.conns)/2 { // seldom enough to cost nothing
		l.conns = slices.DeleteFunc(l.conns, func(c *tracked) bool { return c == nil })
		l.holes = 0
		for i, c := range l.conns {
			c.place = i
		}
	}
	c.place = len(l.conns)
	l.conns = append(l.conns, c)
}

// remove takes out c, if it is there.
func (l *line) remove(c *tracked) {
	if c.place < len(l.conns) && l.conns[c.place] == c {
		l.conns[c.place] = nil
		l.holes++
	}
}

func (l *line) all() []*tracked {
	all := make([]*tracked, 0, len(l.conns)-l.holes)
	for _, c := range l.conns {
		if c != nil {
			all = append(all, c)
		}
	}
	return all
}
