package timeline

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// round makes a duration one that a person reads.
func round(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(10 * time.Microsecond).String()
	default:
		return d.Round(time.Millisecond).String()
	}
}

// printable is s in one line, without what a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// WriteTable writes one line for each handoff.
func WriteTable(w io.Writer, all []Handoff) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "STARTED\tGENERATION\tPID\tBY\tRESULT\tTOOK\tGAP\tWHY")
	for i := range all {
		h := &all[i]
		gap := "-"
		if p, ok := h.Stage(StageGap); ok {
			gap = round(p.Duration)
		}
		why := string(h.Reason)
		if h.Error != "" {
			text, _, _ := strings.Cut(h.Error, "\n")
			why += ": " + printable(text)
		}
		if why == "" {
			why = "-"
		}
		fmt.Fprintf(t, "%s\t%d -> %d\t%d -> %d\t%s\t%s\t%s\t%s\t%s\n", h.Started.Format("2006-01-02 15:04:05"), h.From.Generation, h.To.Generation,
			h.From.PID, h.To.PID, h.Cause, h.Result, round(h.Duration), gap, why)
	}
	return t.Flush()
}

// String is the record as a table of its stages, with what moved and why it ended as it did.
func (h Handoff) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "handoff %s  %s  generation %d (pid %d) -> %d (pid %d)  by %s\n", h.ID, h.Started.Format(time.RFC3339),
		h.From.Generation, h.From.PID, h.To.Generation, h.To.PID, h.Cause)
	fmt.Fprintf(&b, "result: %s", h.Result)
	if h.Reason != "" {
		fmt.Fprintf(&b, " (%s)", h.Reason)
	}
	fmt.Fprintf(&b, " after %s\n", round(h.Duration))
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "STAGE\tFROM\tTOOK")
	for _, p := range h.Stages {
		took := round(p.Duration)
		if p.Running {
			took += " so far"
		}
		fmt.Fprintf(t, "%s\t+%s\t%s\n", p.Stage, round(p.Start), took)
	}
	_ = t.Flush() // a Builder gives no error
	for _, s := range h.Sockets {
		fmt.Fprintf(&b, "%s: %d of %d moved (%s)\n", s.Kind, s.Moved, s.Offered, s.Transport)
	}
	for _, c := range h.Conns {
		fmt.Fprintf(&b, "connections (%s): %d moved, %d kept, %d refused\n", c.Kind, c.Moved, c.Kept, c.Refused)
	}
	for _, r := range h.Refused {
		fmt.Fprintf(&b, "%s %s: %s\n", r.Kind, printable(r.Name), r.Reason)
	}
	if h.Error != "" {
		fmt.Fprintf(&b, "error: %s\n", printable(h.Error))
	}
	if text := h.Advice(); text != "" {
		fmt.Fprintf(&b, "what to do: %s\n", text)
	}
	if x := h.Exit; x != nil {
		if x.Signal != "" {
			fmt.Fprintf(&b, "the successor was ended by a signal: %s\n", x.Signal)
		} else {
			fmt.Fprintf(&b, "the successor's exit status: %d\n", x.Status)
		}
	}
	for line := range strings.Lines(h.Output) {
		fmt.Fprintf(&b, "| %s\n", printable(strings.TrimRight(line, "\n")))
	}
	return b.String()
}
