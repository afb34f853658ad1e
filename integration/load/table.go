package load

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// WriteTable writes the counts and latencies of each kind, overall and near the events, in lines of at most 100 columns,
// a line of what is excused, if anything is, and what is lasting. What the events are is said by label ("an upgrade"); without events
// that half is left out.
func (r *Result) WriteTable(w io.Writer, events []time.Time, within time.Duration, label string) error {
	quantiles := []string{"p50", "p99", "longest"}
	left := [][]string{{"", "requests", "failed", "forced", "reconnects"}}
	middle, right := [][]string{quantiles}, [][]string{quantiles}
	for _, k := range r.Kinds {
		left = append(left, k.cells(k.Kind.String()))
		middle = append(middle, k.Latencies().cells())
		right = append(right, k.Near(events, within).cells())
	}
	left = append(left, r.Counts().cells("all"))

	blocks := [][]string{align(left, true), align(middle, false)}
	heads := []string{"", "overall"}
	if len(events) > 0 {
		blocks = append(blocks, align(right, false))
		heads = append(heads, fmt.Sprintf("within %s of %s", short(within), label))
	}
	table := besides(heads, blocks)

	var excused []string
	for _, k := range r.Kinds {
		if k.Excused > 0 {
			excused = append(excused, fmt.Sprintf("%s %d", k.Kind, k.Excused))
		}
	}
	if excused != nil {
		table += "excused: " + strings.Join(excused, ", ") + "\n"
	}
	if len(r.Lasting) > 0 {
		rows := [][]string{{"connections that stay", "connected", "lost", "reconnects"}}
		for _, l := range r.Lasting {
			rows = append(rows, []string{l.Name, fmt.Sprint(l.Connections), fmt.Sprint(l.Lost), fmt.Sprint(l.Reconnects)})
		}
		table += "\n" + strings.Join(align(rows, true), "\n") + "\n"
	}
	_, err := io.WriteString(w, table)
	return err
}

// WriteTable writes what became of the lines, in the manner of Result.WriteTable.
func (r *ChatResult) WriteTable(w io.Writer) error {
	rows := [][]string{
		{"lines in the chat", "said", "heard", "lost", "doubled", "wrong", "slowest"},
		{"", fmt.Sprint(r.Sent), fmt.Sprint(r.Received), fmt.Sprint(r.Lost), fmt.Sprint(r.Doubled), fmt.Sprint(r.Wrong), short(r.Slowest)},
	}
	_, err := io.WriteString(w, "\n"+strings.Join(align(rows, true), "\n")+"\n")
	return err
}

// cells returns the counts as they are in the table.
func (c Counts) cells(name string) []string {
	return []string{name, fmt.Sprint(c.Requests), fmt.Sprint(c.Failed), fmt.Sprint(c.Forced), fmt.Sprint(c.Reconnects)}
}

// cells returns the quantiles as they are in the table.
func (l Latencies) cells() []string {
	if l.N == 0 {
		return []string{"-", "-", "-"}
	}
	return []string{short(l.P50), short(l.P99), short(l.Max)}
}

// align makes lines of rows, with the columns right-aligned, but for the first if leftFirst is set.
func align(rows [][]string, leftFirst bool) []string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	lines := make([]string, len(rows))
	for n, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			if i == 0 && leftFirst {
				cells[i] = pad(cell, widths[i])
			} else {
				cells[i] = pad("", widths[i]-utf8.RuneCountInString(cell)) + cell
			}
		}
		lines[n] = strings.Join(cells, "  ")
	}
	return lines
}

// besides puts blocks of lines side by side, under a head each.
func besides(heads []string, blocks [][]string) string {
	widths := make([]int, len(blocks))
	height := 0
	for i, b := range blocks {
		widths[i] = max(utf8.RuneCountInString(heads[i]), utf8.RuneCountInString(b[0]))
		height = max(height, len(b))
	}
	var out strings.Builder
	line := func(cell func(i int) string) {
		parts := make([]string, len(blocks))
		for i := range blocks {
			parts[i] = pad(cell(i), widths[i])
		}
		out.WriteString(strings.TrimRight(strings.Join(parts, " | "), " |") + "\n")
	}
	line(func(i int) string { return heads[i] })
	for n := range height {
		line(func(i int) string {
			if n < len(blocks[i]) {
				return blocks[i][n]
			}
			return ""
		})
	}
	return out.String()
}

// pad appends blanks up to a width.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// short prints a duration with three digits, in at most six columns.
func short(d time.Duration) string {
	digits := func(unit time.Duration) string {
		v := float64(d) / float64(unit)
		switch {
		case v < 9.995:
			return fmt.Sprintf("%.2f", v)
		case v < 99.95:
			return fmt.Sprintf("%.1f", v)
		}
		return fmt.Sprintf("%.0f", v)
	}
	switch {
	case d < 0:
		return "-" + short(-d)
	case d < time.Millisecond:
		return digits(time.Microsecond) + "µs"
	case d < time.Second:
		return digits(time.Millisecond) + "ms"
	}
	return digits(time.Second) + "s"
}

// clock prints the time since the beginning of a load.
func clock(d time.Duration) string {
	return fmt.Sprintf("at %.3f s:", d.Seconds())
}
