package decisions

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// Row is what a row of a table decides: an event in a state. In a state that takes any event alike, the event is "any".
type Row struct{ Side, State, Event string }

func (r Row) String() string { return r.Side + " | " + r.State + " | " + r.Event }

const anyEvent = "any"

// Table has the next state of each row.
type Table map[Row]string

// Read reads the tables of a page, which is docs/protocol.md. A test of handoff/internal/succession holds that page to the code.
func Read(page string) (Table, error) {
	b, err := os.ReadFile(page)
	if err != nil {
		return nil, err
	}
	table := Table{}
	for _, side := range []string{"successor", "incumbent"} {
		_, text, ok := strings.Cut(string(b), "<!-- the "+side+"'s table -->\n")
		text, _, ok2 := strings.Cut(text, "<!-- the end of the "+side+"'s table -->")
		if !ok || !ok2 {
			return nil, fmt.Errorf("%s has no table of the %s", page, side)
		}
		table.read(side, text)
	}
	return table, nil
}

var (
	stateLine = regexp.MustCompile(`^\*\*([A-Z ]+)\.\*\* `)
	rowLine   = regexp.MustCompile(`^\| ([^|]+) \| [^|]*\| (the same|\*\*[A-Z ]+\*\*) \|$`)
)

func (t Table) read(side, text string) {
	state := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := stateLine.FindStringSubmatch(line); m != nil {
			state = m[1]
		}
		m := rowLine.FindStringSubmatch(line)
		if m == nil || state == "" {
			continue
		}
		next := strings.Trim(m[2], "*")
		if next == "the same" {
			next = state
		}
		for event := range strings.SplitSeq(m[1], "; ") {
			t[Row{side, state, event}] = next
		}
	}
}

// RowOf returns the row of a decision, or an error that says what the decision is instead of one.
func (t Table) RowOf(d Decision) (Row, error) {
	r := Row{d.Side, d.State, d.Event}
	next, ok := t[r]
	if !ok {
		r.Event = anyEvent
		next, ok = t[r]
	}
	switch {
	case !ok:
		return r, fmt.Errorf("%s: a case that cannot be, by the table", d)
	case next != d.Next:
		return r, fmt.Errorf("%s: the table says -> %s", d, next)
	}
	return r, nil
}

// Check returns one error for each decision that is no row.
func (t Table) Check(seen []Decision) (errs []error) {
	for _, d := range seen {
		if _, err := t.RowOf(d); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
