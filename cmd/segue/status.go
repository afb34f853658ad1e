package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/segue-go/segue/handoff/control"
	"github.com/segue-go/segue/handoff/timeline"
)

// redrawEach is how often status --watch asks on a terminal.
const redrawEach = time.Second

func (e env) statusCommand() *cobra.Command {
	timeout := 15 * time.Second
	var asJSON, watch bool
	c := &cobra.Command{
		Use: "status [--json] [--watch] PATH", Short: "show which generations there are, and what each is doing",
		Long: `Asks the process that serves at PATH. It shows that generation and the older ones that still drain: their connections by
what they do (active: being answered; idle: between two requests; parked: handed over, their clients are silent since), and
on what each waits before it ends; the sockets; the last handoff; and what to do if that failed. See also segue history.

--watch goes on until it is interrupted, across upgrades: on a terminal it draws the same again and again; otherwise it
prints a line for each thing that happens, or a JSON object with --json.
` + controlStatuses,
		RunE: func(c *cobra.Command, args []string) error {
			client := &control.Client{Path: args[0]}
			if watch {
				return e.watch(c.Context(), client, asJSON)
			}
			ctx, stop := bound(c.Context(), timeout, "")
			defer stop()
			chain, err := client.Status(ctx)
			if err != nil {
				return asked(err)
			}
			if asJSON {
				return e.json(chain)
			}
			printChain(e.stdout, chain, args[0], terminalOf(e.stdout))
			return nil
		},
	}
	c.Flags().Var((*timeValue)(&timeout), "timeout", "wait no longer than this `time`, without --watch")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	c.Flags().BoolVar(&watch, "watch", false, "go on, and show what happens")
	return asksChain(c)
}

func (e env) json(v any) error {
	enc := json.NewEncoder(e.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// watch shows what happens until ctx ends, which is no error.
func (e env) watch(ctx context.Context, client *control.Client, asJSON bool) error {
	t := terminalOf(e.stdout)
	if t.width > 0 && !asJSON {
		return e.redraw(ctx, client, t)
	}
	enc := json.NewEncoder(e.stdout)
	err := client.Watch(ctx, func(h control.Happening) {
		if asJSON {
			_ = enc.Encode(h) // output remembers the error
			return
		}
		fmt.Fprintf(e.stdout, "%s  %s\n", h.Time.Local().Format("15:04:05.000"), happened(h))
	})
	if ctx.Err() != nil {
		return nil
	}
	return asked(err)
}

// redraw shows the status anew each second, in the place of the last one.
func (e env) redraw(ctx context.Context, client *control.Client, t terminal) error {
	tick := time.NewTicker(redrawEach)
	defer tick.Stop()
	for {
		chain, err := client.Status(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return asked(err)
		}
		t.width = terminalOf(e.stdout).width // it may have changed
		var b strings.Builder
		fmt.Fprintf(&b, "\x1b[H\x1b[J%s  %s\n\n", harmless(client.Path), time.Now().Format(time.DateTime))
		printChain(&b, chain, client.Path, t)
		if _, err := io.WriteString(e.stdout, b.String()); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// happened says in one line what has happened.
func happened(h control.Happening) string {
	who := fmt.Sprintf("generation %d, process %d", h.Generation, h.PID)
	switch h.Kind {
	case control.KindPhase:
		if h.Phase == timeline.PhaseServing || h.Phase == timeline.PhaseProbation {
			return fmt.Sprintf("%s: %s", h.Phase, who)
		}
		return describe(control.Event{Generation: h.Generation, PID: h.PID, Phase: string(h.Phase), Successor: h.Successor})
	case control.KindHandoff:
		return "handoff " + harmless(h.Handoff.ID) + ": " + summary(h.Handoff)
	case control.KindDrain:
		if len(h.Draining) == 0 {
			return "no older generation drains"
		}
		var all []string
		for _, g := range h.Draining {
			all = append(all, fmt.Sprintf("generation %d, process %d, waits for %s", g.Generation, g.PID, waits(g, false)))
		}
		return "draining: " + strings.Join(all, "; ")
	case control.KindMissed:
		return fmt.Sprintf("%d changes of phase were missed: this was read too slowly", h.Missed)
	default:
		return harmless(string(h.Kind))
	}
}

// summary is a handoff in one line.
func summary(h *timeline.Handoff) string {
	var b strings.Builder
	fmt.Fprintf(&b, "generation %d -> %d, %s", h.From.Generation, h.To.Generation, h.Result)
	if h.Reason != "" {
		fmt.Fprintf(&b, " (%s)", h.Reason)
	}
	fmt.Fprintf(&b, ", %s, took %s", h.Started.Local().Format(time.DateTime), brief(h.Duration))
	if gap, ok := h.Stage(timeline.StageGap); ok {
		fmt.Fprintf(&b, ", nobody accepted for %s", brief(gap.Duration))
	}
	if h.Error != "" {
		line, _, _ := strings.Cut(h.Error, "\n")
		b.WriteString(": " + line)
	}
	return harmless(b.String())
}

// brief rounds d to what a person reads.
func brief(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// waits says on what g waits, and until when.
func waits(g timeline.Generation, untilToo bool) string {
	var all []string
	for _, w := range g.Waits {
		s := string(w.For)
		switch w.For {
		case timeline.WaitDrain:
			s = "requests that are not finished"
		case timeline.WaitConnections:
			s = "connections"
		case timeline.WaitGuard:
			s = "the end of its guard"
		case timeline.WaitPredecessor:
			s = "the generation before it"
		}
		if w.Count > 0 {
			s = strconv.Itoa(w.Count) + " " + s
		}
		if untilToo && !w.Until.IsZero() {
			s += " (until " + w.Until.Local().Format(time.TimeOnly) + ")"
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ", ")
}

// phaseColor is that of what is well, and of what passes.
func phaseColor(p timeline.Phase) string {
	switch p {
	case timeline.PhaseServing:
		return "32"
	case timeline.PhaseStopped:
		return "31"
	default:
		return "33"
	}
}

// printChain shows a chain, in lines that fit t.
func printChain(w io.Writer, c timeline.Chain, path string, t terminal) {
	var b strings.Builder
	tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "GENERATION\tPID\tPHASE\tSINCE\tACTIVE\tIDLE\tPARKED\tLEFT")
	for _, g := range c.Generations {
		fmt.Fprintf(tab, "%d\t%d\t%s\t%s\t%d\t%d\t%d\t%d\n", g.Generation, g.PID, harmless(string(g.Phase)), since(g.Since),
			g.Conns.Active, g.Conns.Idle, g.Conns.Parked+g.Conns.Untaken, g.Conns.Left())
	}
	_ = tab.Flush() // a Builder gives no error
	for i, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
		line = cutLine(line, t.width)
		if i > 0 && t.color {
			phase := string(c.Generations[i-1].Phase)
			line = strings.Replace(line, phase, "\x1b["+phaseColor(timeline.Phase(phase))+"m"+phase+"\x1b[0m", 1)
		}
		fmt.Fprintln(w, line)
	}
	for _, g := range c.Generations {
		if len(g.Waits) > 0 {
			paragraph(w, t, fmt.Sprintf("generation %d waits for ", g.Generation), waits(g, true))
		}
	}
	if s := c.Generations[0].Sockets; len(s) > 0 {
		fmt.Fprintln(w, "\nsockets")
		b.Reset()
		tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, o := range s {
			from := "new here" // bound by this process, or from systemd or another Source
			if o.Inherited {
				from = "inherited"
			}
			fmt.Fprintln(tab, harmless(fmt.Sprintf("  %s\t%s\t%s\t%s\t%q", o.Kind, o.Network, o.Address, from, o.Name)))
		}
		_ = tab.Flush()
		for line := range strings.Lines(b.String()) {
			fmt.Fprintln(w, cutLine(strings.TrimSuffix(line, "\n"), t.width))
		}
	}
	fmt.Fprintln(w)
	failed := c.Generations[0].Error
	if h := c.Last; h != nil {
		paragraph(w, t, "last handoff  ", summary(h))
		if do := h.Advice(); do != "" {
			paragraph(w, t, "           -> ", do+" 'segue history "+path+" "+h.ID+"' has all of it.")
		}
		if h.Result != timeline.Done && h.Result != timeline.Running {
			failed = "" // it is the same
		}
	} else {
		fmt.Fprintln(w, "last handoff  none yet")
	}
	if failed != "" {
		paragraph(w, t, "last error    ", failed)
	}
}

// since is a time of day, or a date if that is another.
func since(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	at = at.Local()
	if y, m, d := at.Date(); time.Since(at) > 24*time.Hour || func() bool { a, b, c := time.Now().Date(); return a != y || b != m || c != d }() {
		return at.Format("2006-01-02 15:04")
	}
	return at.Format(time.TimeOnly)
}

// paragraph prints text behind a heading, in lines that fit.
func paragraph(w io.Writer, t terminal, heading, text string) {
	margin := utf8.RuneCountInString(heading)
	fmt.Fprintln(w, heading+strings.Join(wrap(harmless(text), t.width-margin), "\n"+strings.Repeat(" ", margin)))
}

// cutLine cuts a line of a table that does not fit.
func cutLine(s string, width int) string {
	if width <= 0 || utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:max(width-1, 0)]) + "…"
}
