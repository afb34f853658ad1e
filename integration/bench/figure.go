package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// figure is one line of the table: what was measured in each round, and beside what.
type figure struct {
	name  string
	unit  unit
	ours  []float64
	floor []float64 // as long as ours
	aim   aim       // zero: none
}

// unit prints a value.
type unit func(float64) string

func perSecond(v float64) string {
	if v < 10_000 {
		return fmt.Sprintf("%.0f/s", v)
	}
	return fmt.Sprintf("%.1fk/s", v/1000)
}

func count(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

// nanoseconds prints at least two digits.
func nanoseconds(v float64) string {
	switch d := time.Duration(v).Abs(); {
	case d < 100*time.Microsecond:
		return fmt.Sprintf("%.1f µs", v/1e3)
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", v/1e3)
	default:
		return fmt.Sprintf("%.2f ms", v/1e6)
	}
}

// aim is what a figure should reach, and how it is compared with its floor.
type aim struct {
	by    comparison
	limit float64
	text  string // how to print limit
}

// comparison is one number made of a figure and its floor.
type comparison int

const (
	unrelated  comparison = iota // the figure itself; the floor is shown beside it
	atLeast                      // figure / floor, not below the limit
	atMost                       // figure / floor, not above the limit
	difference                   // figure - floor, at most the limit
)

func (c comparison) ratio() bool { return c == atLeast || c == atMost }

// compared returns what the aim is about, in each round. Rounds are compared one by one, because what else happens on
// the machine changes from one to the next, but hits a figure and its floor alike.
func (f figure) compared() []float64 {
	c := make([]float64, len(f.ours))
	for i, v := range f.ours {
		switch f.aim.by {
		case atLeast, atMost:
			c[i] = v / f.floor[i]
		case difference:
			c[i] = v - f.floor[i]
		default:
			c[i] = v
		}
	}
	return c
}

// verdict says whether the median reaches the aim. If it misses it by less than it is itself uncertain (two standard
// errors, as of a normal distribution with these quartiles), the run was too noisy to tell.
func (f figure) verdict() string {
	c := f.compared()
	behind := median(c) - f.aim.limit
	if f.aim.by == atLeast {
		behind = -behind
	}
	uncertain := 2 * 0.93 * (quantile(c, 0.75) - quantile(c, 0.25)) / math.Sqrt(float64(len(c)))
	switch {
	case behind <= 0:
		return "met"
	case behind <= uncertain:
		return "too noisy to tell"
	default:
		return "MISSED"
	}
}

// print prints a value of compared.
func (f figure) print(v float64) string {
	if f.aim.by.ratio() {
		return fmt.Sprintf("%.3f", v)
	}
	return f.unit(v)
}

// table prints all figures.
func table(w io.Writer, figures []figure) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "figure\trounds\tours\tfloor\tcompared\thalf of the rounds\taim\t")
	for _, f := range figures {
		c := f.compared()
		how := map[comparison]string{atLeast: "× ", atMost: "× ", difference: "+ "}[f.aim.by]
		verdict := "\t"
		if f.aim.text != "" {
			verdict = f.aim.text + "\t" + f.verdict()
		}
		spread := "-" // of one or two rounds there is none
		if len(c) > 2 {
			spread = f.print(quantile(c, 0.25)) + " to " + f.print(quantile(c, 0.75))
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s%s\t%s\t%s\n", f.name, len(c), f.unit(median(f.ours)), f.unit(median(f.floor)),
			how, f.print(median(c)), spread, verdict)
	}
	return t.Flush()
}

func median(v []float64) float64 { return quantile(v, 0.5) }

// quantile interpolates between the two values beside q. It is NaN if there are none.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(v))
	at := q * float64(len(s)-1)
	i := int(at)
	if i+1 == len(s) {
		return s[i]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}
