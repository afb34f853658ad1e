package chronicle

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/segue-go/segue/handoff/timeline"
)

// Report is what travels between two generations, in the body of a REPORT.
type Report struct {
	Version int     `json:"version"` // of this, timeline.Version
	Entries []Entry `json:"entries,omitempty"`
	// Counters are there if the receiver is to go on with them: those of the chain, for a successor that does not own yet, and for
	// an incumbent that gets the sockets back.
	Counters    *timeline.Counters    `json:"counters,omitempty"`
	Generations []timeline.Generation `json:"generations,omitempty"` // that drain: the sender and those before it
}

// Bounds of a report.
const (
	MaxReport      = 56 << 10 // bytes
	MaxReports     = 3        // that carry the past to a successor
	maxGenerations = 16
	maxCounts      = 512 // entries of one list of Counters
	travelText     = 1 << 10
)

// ErrReport is the error of a report that breaks a bound. It means nothing for the handoff.
var ErrReport = errors.New("malformed report")

// Encode returns r in as many reports as it takes, MaxReports at most: what does not fit is left out, the oldest first.
func Encode(r Report) [][]byte {
	r.Version = timeline.Version
	entries := r.Entries
	r.Entries = nil
	var all [][]byte
	for len(all) < MaxReports {
		n := len(entries)
		for {
			r.Entries = tidy(entries[len(entries)-n:])
			b, err := json.Marshal(r)
			if err == nil && len(b) <= MaxReport {
				all = append(all, b)
				break
			}
			if n == 0 {
				return all
			}
			n /= 2
		}
		entries = entries[:len(entries)-n]
		r.Counters, r.Generations = nil, nil
		if len(entries) == 0 || n == 0 {
			break
		}
	}
	return all
}

// tidy cuts what travels.
func tidy(entries []Entry) []Entry {
	all := make([]Entry, len(entries))
	for i, e := range entries {
		all[i] = e.clone()
		for _, h := range []*Half{all[i].Incumbent, all[i].Successor} {
			if h != nil {
				h.Trim(travelText)
			}
		}
	}
	return all
}

// Decode returns a report within its bounds. The error is ErrReport.
func Decode(b []byte) (r Report, err error) {
	if len(b) > MaxReport {
		return r, fmt.Errorf("%w: %d bytes", ErrReport, len(b))
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return Report{}, fmt.Errorf("%w: %w", ErrReport, err)
	}
	if r.Version != timeline.Version {
		return Report{}, fmt.Errorf("%w: version %d", ErrReport, r.Version)
	}
	if len(r.Entries) > timeline.MaxHandoffs || len(r.Generations) > maxGenerations {
		return Report{}, fmt.Errorf("%w: too much of it", ErrReport)
	}
	for i := range r.Entries {
		e := &r.Entries[i]
		if len(e.ID) > 64 || e.ID == "" {
			return Report{}, fmt.Errorf("%w: an entry without an ID", ErrReport)
		}
		for _, h := range []*Half{e.Incumbent, e.Successor} {
			if h != nil {
				h.Trim(travelText)
			}
		}
		if c := e.Counted; c != nil && (len(c.Results) > 32 || len(c.Stages) > 32 || len(c.Conns) > 8) {
			return Report{}, fmt.Errorf("%w: counted too much", ErrReport)
		}
	}
	if c := r.Counters; c != nil && !fits(c) {
		return Report{}, fmt.Errorf("%w: counters", ErrReport)
	}
	for i := range r.Generations {
		g := &r.Generations[i]
		g.Error = Cut(g.Error, travelText)
		g.Sockets = nil
		g.Waits = g.Waits[:min(len(g.Waits), 8)]
	}
	return r, nil
}

// fits reports whether counters are such that one can count on.
func fits(c *timeline.Counters) bool {
	if len(c.Handoffs) > maxCounts || len(c.Sockets) > maxCounts || len(c.Conns) > maxCounts || len(c.Undone) > maxCounts ||
		len(c.Stages) > len(timeline.Stages()) {
		return false
	}
	for _, s := range c.Stages {
		if len(s.Buckets) != len(timeline.Buckets()) {
			return false
		}
	}
	return true
}

// Trim cuts the lists and texts of h to their bounds; text is that of a text.
func (h *Half) Trim(text int) {
	h.Error, h.Output = Cut(h.Error, text), Cut(h.Output, text)
	h.From.Program, h.To.Program = Cut(h.From.Program, timeline.MaxName), Cut(h.To.Program, timeline.MaxName)
	h.Spans = h.Spans[:min(len(h.Spans), len(timeline.Stages()))]
	h.Sockets = h.Sockets[:min(len(h.Sockets), 16)]
	h.Conns = h.Conns[:min(len(h.Conns), 16)]
	h.Refused = h.Refused[:min(len(h.Refused), timeline.MaxList)]
	h.Sections = h.Sections[:min(len(h.Sections), timeline.MaxList)]
	for i := range h.Refused {
		h.Refused[i].Name = Cut(h.Refused[i].Name, timeline.MaxName)
	}
	for i := range h.Sections {
		h.Sections[i].Name, h.Sections[i].Error = Cut(h.Sections[i].Name, timeline.MaxName), Cut(h.Sections[i].Error, timeline.MaxName)
	}
	for _, d := range []*time.Duration{&h.Paused, &h.Opened, &h.Confirmed, &h.Ended, &h.PeerGone} {
		*d = max(*d, 0)
	}
}

// Cut leaves out the middle of what is too long: the beginning of a text says what, and its end why. It is UTF-8 without NUL then.
func Cut(s string, most int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "?"), "?")
	if len(s) <= most {
		return s
	}
	const gap = " ... "
	head, tail := (most-len(gap))/2, len(s)-(most-len(gap))/2
	for head > 0 && !utf8.RuneStart(s[head]) {
		head--
	}
	for tail < len(s) && !utf8.RuneStart(s[tail]) {
		tail++
	}
	return s[:head] + gap + s[tail:]
}
