package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/segue-go/segue/cmd/segue/internal/doctor"
)

func (e env) doctorCommand() *cobra.Command {
	timeout := 2 * time.Minute
	var asJSON, dry bool
	c := &cobra.Command{
		Use: "doctor [--json] [PATH] | doctor --dry-run PATH -- COMMAND [ARGUMENTS]", Short: "look for what would make an upgrade fail, before there is one", DisableFlagsInUseLine: true,
		ValidArgsFunction: completePath,
		Args: func(c *cobra.Command, args []string) error {
			switch n := c.ArgsLenAtDash(); {
			case dry && (n != 1 || len(args) < 2):
				return usagef("--dry-run wants PATH -- COMMAND: what is to be started as a successor of whom")
			case !dry && (n >= 0 || len(args) > 1):
				return usagef("give one PATH; COMMAND is for --dry-run")
			case len(args) > 0 && args[0] == "":
				return usagef("PATH is empty; leave it out to look at the machine only")
			}
			return nil
		},
		Long: `Looks at the machine, and with PATH, the rendezvous of a program, at that path and the process that serves there: limits of
descriptors and of those in flight, accept queues, permissions, Yama, namespaces, seccomp where it can be seen, systemd's
unit, features of the kernel. Each finding is ok, a warning (an upgrade works, but something is lost, slower, or cannot be
seen) or a fault (an upgrade fails, or a crash does harm), with what to do about it. Nothing is changed.

With --dry-run, COMMAND is started as a successor, with SEGUE_RENDEZVOUS=PATH. It really starts, and asks for its sockets.
Where it would take over it gives up, and the process that serves goes on untouched. The list says what it would have
taken, what it would have left to be closed, and what it has bound itself. COMMAND has to be built with this release of
segue or a later one: an older one would really take over, so that it is looked for in the files that COMMAND names.

Run it as the user of the program, or as root, and where the program runs: in its container.

The exit status:

     0  all is well
     1  something else went wrong, such as --timeout
     4  nobody is there
     5  not allowed: the path, or the process, is somebody else's
     6  the process does not answer: it is stopped, or stuck
     7  the process answers no requests: an older version, or it is still starting
     8  at PATH is no rendezvous
    11  there are warnings
    12  there are faults

4 to 8 come before 11 and 12; the list is printed with all of them.`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := bound(c.Context(), timeout, "")
			defer stop()
			all, err := doctor.Examine(ctx, strings.Join(args[:min(1, len(args))], ""))
			if all == nil && err != nil {
				return err
			}
			if dry && err == nil {
				tried, err := doctor.DryRun(ctx, args[0], args[1:], e.stderr)
				if err != nil {
					return err
				}
				all = append(all, tried...)
			}
			if asJSON {
				enc := json.NewEncoder(e.stdout)
				enc.SetIndent("", "  ")
				if err := enc.Encode(all); err != nil {
					return err
				}
			} else {
				printFindings(e.stdout, all, terminalOf(e.stdout))
			}
			var own *statusError
			if err = asked(err); errors.As(err, &own) {
				return &statusError{status: own.status} // the list has it
			} else if err != nil {
				return err
			}
			switch doctor.Worst(all) {
			case doctor.Fault:
				return &statusError{status: exitFaults}
			case doctor.Warning:
				return &statusError{status: exitWarnings}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "start COMMAND as a successor that gives up before it takes over")
	c.Flags().BoolVar(&asJSON, "json", false, "print an array of objects")
	c.Flags().Var((*timeValue)(&timeout), "timeout", "wait no longer than this `time`")
	return c
}

// terminal is what output may have there.
type terminal struct {
	width int // 0: lines are as long as they are
	color bool
}

var colors = map[doctor.Level]string{doctor.OK: "32", doctor.Warning: "33", doctor.Fault: "31"}

func printFindings(w io.Writer, all []doctor.Finding, t terminal) {
	const margin = len("warning  accept queues  ")
	for _, f := range all {
		level := fmt.Sprintf("%-7s", f.Level)
		if t.color {
			level = "\x1b[" + colors[f.Level] + "m" + level + "\x1b[0m"
		}
		text := wrap(harmless(f.Found), t.width-margin)
		if f.Do != "" {
			text = append(text, wrap("-> "+harmless(f.Do), t.width-margin)...)
		}
		fmt.Fprintf(w, "%s  %-13s  %s\n", level, f.Check, strings.Join(text, "\n"+strings.Repeat(" ", margin)))
	}
}

// wrap breaks s into lines of n characters, if words allow that and n is of use.
func wrap(s string, n int) (lines []string) {
	for line := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
		now := ""
		for _, word := range strings.Fields(line) {
			switch {
			case now == "":
				now = word
			case n >= 20 && utf8.RuneCountInString(now)+1+utf8.RuneCountInString(word) > n:
				lines, now = append(lines, now), word
			default:
				now += " " + word
			}
		}
		lines = append(lines, now)
	}
	return lines
}
