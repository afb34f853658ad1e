package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// moments are when each thing happened in handovers to a new process, after its call of Join.
type moments map[string][]float64

func (t *moments) add(incumbent, successor map[string]int64) {
	if *t == nil {
		*t = moments{}
	}
	began := successor["join"]
	for who, at := range map[string]map[string]int64{"incumbent": incumbent, "successor": successor} {
		for what, ns := range at {
			if ns >= began { // the rest belongs to the handover before
				key := who + "\t" + what
				(*t)[key] = append((*t)[key], float64(ns-began))
			}
		}
	}
}

// print prints the medians, in their order.
func (t moments) print(w io.Writer) error {
	keys := make([]string, 0, len(t))
	for k := range t {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Compare(median(t[a]), median(t[b])) })
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "after Join\twho\twhat")
	for _, k := range keys {
		fmt.Fprintf(tw, "%s\t%s\n", nanoseconds(median(t[k])), k)
	}
	return tw.Flush()
}
