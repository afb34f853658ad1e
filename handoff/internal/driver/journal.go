package driver

import "time"

// journal has the last phases of a generation. The control socket tells of each, also of one that was over at once. It is
// guarded by Driver.mu.
type journal struct {
	count int // of all, so far
	ring  [32]struct {
		phase Phase
		at    time.Time
	}
}

func (j *journal) note(p Phase) {
	e := &j.ring[j.count%len(j.ring)]
	e.phase, e.at = p, time.Now()
	j.count++
}

// last returns when the present phase began; the zero time if none has.
func (j *journal) last() time.Time {
	if j.count == 0 {
		return time.Time{}
	}
	return j.ring[(j.count-1)%len(j.ring)].at
}

// since returns the phases after the first *seen ones, as far as they are kept, and counts them as seen.
func (j *journal) since(seen *int) (phases []Phase) {
	for i := max(*seen, j.count-len(j.ring)); i < j.count; i++ {
		phases = append(phases, j.ring[i%len(j.ring)].phase)
	}
	*seen = j.count
	return phases
}

// told is one of the last phases.
type told struct {
	phase Phase
	at    time.Time
}

// past returns the phases after the first seen ones, how many of those are not kept any more, and how many there are now.
func (j *journal) past(seen int) (all []told, lost, now int) {
	from := max(seen, j.count-len(j.ring))
	for i := from; i < j.count; i++ {
		e := j.ring[i%len(j.ring)]
		all = append(all, told{e.phase, e.at})
	}
	return all, from - seen, j.count
}
