package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-go/segue/handoff/control"
	"github.com/segue-go/segue/handoff/timeline"
)

func (e env) historyCommand() *cobra.Command {
	timeout := 15 * time.Second
	var asJSON bool
	var number int
	c := &cobra.Command{
		Use: "history [--json] [-n N] PATH [ID]", Short: "show the last handoffs, and what became of each",
		Long: `Asks the process that serves at PATH for the records of the last handoffs and attempts, 32 at most, and prints them as a
table, the newest last. With ID, or -n N (1 is the newest), it shows one in full: its stages with offsets and durations,
sockets, connections, what was refused, why it ended as it did, the exit status and the last lines of the new process, and
what to do. The last lines are what the program has printed: what it prints there, this shows.
` + controlStatuses,
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := bound(c.Context(), timeout, "")
			defer stop()
			all, err := (&control.Client{Path: args[0]}).History(ctx)
			if err != nil {
				return asked(err)
			}
			one := len(args) > 1 || number > 0
			if one {
				id := ""
				if len(args) > 1 {
					id = args[1]
				}
				if all, err = pick(all, id, number); err != nil {
					return err
				}
			}
			switch {
			case asJSON && one:
				return e.json(all[0])
			case asJSON:
				return e.json(append([]timeline.Handoff{}, all...))
			case one:
				_, err = io.WriteString(e.stdout, harmless(all[0].String()))
				return err
			case len(all) == 0:
				_, err = fmt.Fprintln(e.stdout, "no handoff yet")
				return err
			}
			return printHistory(e.stdout, all, terminalOf(e.stdout))
		},
	}
	c.Flags().Var((*timeValue)(&timeout), "timeout", "wait no longer than this `time`")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON: an array, or one object")
	c.Flags().IntVarP(&number, "number", "n", 0, "show one in full: the `N`th from the end")
	c = asksChain(c)
	c.Args = func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0 || args[0] == "" || len(args) > 2:
			return usagef("give one PATH: the rendezvous of the program, its Config.Path; and an ID, if you like")
		case len(args) == 2 && number != 0:
			return usagef("give an ID or -n, not both")
		case number < 0 || number > timeline.MaxHandoffs:
			return usagef("-n is from 1, the newest, to %d", timeline.MaxHandoffs)
		}
		return nil
	}
	return c
}

// pick returns the one of that ID, of which the beginning is enough, or the nth from the end.
func pick(all []timeline.Handoff, id string, n int) ([]timeline.Handoff, error) {
	if n > len(all) {
		return nil, fmt.Errorf("there are %d handoffs", len(all))
	}
	if id == "" {
		return all[len(all)-n:], nil
	}
	var found []timeline.Handoff
	for _, h := range all {
		if strings.HasPrefix(h.ID, id) {
			found = append(found, h)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("there is no handoff %q; 'segue history PATH' lists them", id)
	case 1:
		return found, nil
	}
	return nil, fmt.Errorf("%d handoffs begin with %q", len(found), id)
}

// printHistory prints a table, cut to the width of t.
func printHistory(w io.Writer, all []timeline.Handoff, t terminal) error {
	rows := [][]string{{"ID", "STARTED", "GENERATION", "PID", "BY", "RESULT", "TOOK", "GAP", "WHY"}}
	for i := range all {
		h := &all[i]
		gap, why := "-", string(h.Reason)
		if p, ok := h.Stage(timeline.StageGap); ok {
			gap = brief(p.Duration)
		}
		if h.Error != "" {
			line, _, _ := strings.Cut(h.Error, "\n")
			why += ": " + line
		}
		rows = append(rows, []string{
			h.ID, h.Started.Local().Format(time.DateTime), strconv.Itoa(h.From.Generation) + " -> " + strconv.Itoa(h.To.Generation),
			strconv.Itoa(h.From.PID) + " -> " + strconv.Itoa(h.To.PID), string(h.Cause), string(h.Result), brief(h.Duration), gap, why,
		})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = harmless(strings.ReplaceAll(cell, "\t", " "))
			widths[i] = max(widths[i], len([]rune(row[i])))
		}
	}
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&b, "%-*s  ", widths[i], cell)
		}
		line := cutLine(strings.TrimRight(b.String(), " "), t.width)
		if n > 0 && t.color {
			line = strings.Replace(line, " "+row[5]+" ", " \x1b["+resultColor(all[n-1].Result)+"m"+row[5]+"\x1b[0m ", 1)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func resultColor(r timeline.Result) string {
	switch r {
	case timeline.Done:
		return "32"
	case timeline.Running:
		return "33"
	default:
		return "31"
	}
}
