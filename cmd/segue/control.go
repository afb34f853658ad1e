package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/segue-go/segue/handoff/control"
)

// The exit statuses of the commands that ask a chain.
const (
	exitFailed    = 3
	exitNobody    = 4
	exitForbidden = 5
	exitSilent    = 6
	exitNoControl = 7
	exitNoChain   = 8
	exitBusy      = 9
	exitLost      = 10
	// Those of doctor alone.
	exitWarnings = 11
	exitFaults   = 12
)

const controlStatuses = `
PATH is the rendezvous of the program: its Config.Path. Ask as its user, or as root.

The exit status:

     0  all went well
     1  something else went wrong, such as --timeout
     3  it failed; the process that was asked serves on, if the message does not say otherwise
     4  nobody is there
     5  not allowed: the path, or the process, is somebody else's
     6  the process does not answer: it is stopped, or stuck
     7  the process answers no requests, or does not know this one: an older version, or it is still starting
     8  at PATH is no rendezvous
     9  another upgrade is under way; for status --watch, too many watch already
    10  the process has ended, and how the upgrade ended is not known
   128  and the number of the signal that ended this command, such as 143 for SIGTERM`

// asked makes an error of package control one with its exit status.
func asked(err error) error {
	for _, c := range []struct {
		is     error
		status int
	}{
		{control.ErrNobody, exitNobody}, {control.ErrForbidden, exitForbidden}, {control.ErrNoControl, exitNoControl},
		{control.ErrUnknownRequest, exitNoControl}, {control.ErrSilent, exitSilent}, {control.ErrNoChain, exitNoChain},
		{control.ErrBusy, exitBusy}, {control.ErrLost, exitLost}, {control.ErrFailed, exitFailed},
	} {
		if errors.Is(err, c.is) {
			return &statusError{errors.New(harmless(err.Error())), c.status}
		}
	}
	return err
}

// harmless keeps what another process says from controlling the terminal.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// asksChain completes a command whose argument is a PATH.
func asksChain(c *cobra.Command) *cobra.Command {
	c.DisableFlagsInUseLine, c.ValidArgsFunction = true, completePath
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return usagef("give one PATH: the rendezvous of the program, its Config.Path")
		}
		return nil
	}
	return c
}

// bound ends ctx after d.
func bound(ctx context.Context, d time.Duration, rest string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("not done after %v (--timeout)%s: %w", d, rest, os.ErrDeadlineExceeded))
}

func (e env) upgradeCommand() *cobra.Command {
	timeout := 15 * time.Minute
	c := &cobra.Command{
		Use: "upgrade [--timeout T] PATH", Short: "replace the process that serves, and wait for the result",
		Long: `Has the process that serves at PATH start its successor, which is the program as it is now, and waits until that has
confirmed. Each phase is printed as it begins. An upgrade goes on if this command is ended.
` + controlStatuses,
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := bound(c.Context(), timeout, "; the upgrade goes on, see segue status")
			defer stop()
			var last control.Event
			err := (&control.Client{Path: args[0]}).Upgrade(ctx, func(ev control.Event) {
				last = ev
				fmt.Fprintf(e.stdout, "%8s  %s\n", shortly(ev.After), describe(ev))
			})
			if err != nil {
				return asked(err)
			}
			fmt.Fprintf(e.stdout, "upgraded: generation %d serves%s\n", last.Generation+1, inProcess(last.Successor))
			return nil
		},
	}
	c.Flags().Var((*timeValue)(&timeout), "timeout", "wait no longer than this `time`; the upgrade goes on")
	return asksChain(c)
}

func shortly(d time.Duration) string { return fmt.Sprintf("%.3fs", d.Seconds()) }

func inProcess(pid int) string {
	if pid == 0 {
		return ""
	}
	return fmt.Sprintf(", process %d", pid)
}

// describe says what a phase means for somebody who waits for the upgrade.
func describe(ev control.Event) string {
	old := fmt.Sprintf("generation %d, process %d", ev.Generation, ev.PID)
	switch ev.Phase {
	case "offering":
		return "offering: a successor starts; " + old + " serves"
	case "switching":
		return "switching: the successor" + inProcess(ev.Successor) + " is ready"
	case "guarding":
		return "guarding: the successor owns the sockets, and has not confirmed yet"
	case "draining":
		return "draining: the successor has confirmed; " + old + " finishes what it has begun"
	default:
		return harmless(ev.Phase) + ": " + old
	}
}

func (e env) retireCommand() *cobra.Command {
	timeout := 5 * time.Minute
	c := &cobra.Command{
		Use: "retire [--timeout T] PATH [GENERATION]", Short: "end older generations that still drain",
		Long: `Has the generations before the one that serves at PATH end: all that still drain, or the one of that number. Each cuts its
drain as if its DrainTimeout were over: what it was answering is cut off. Its guard goes on, a few seconds as a rule. The
generation that serves is not touched. 'segue status' shows who drains, and on what each waits.
` + controlStatuses,
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := bound(c.Context(), timeout, "")
			defer stop()
			generation := 0
			if len(args) > 1 {
				generation, _ = strconv.Atoi(args[1])
			}
			n, err := (&control.Client{Path: args[0]}).Retire(ctx, generation)
			switch {
			case n > 0:
				fmt.Fprintf(e.stdout, "%d older %s ended\n", n, map[bool]string{true: "generation has", false: "generations have"}[n == 1])
			case err == nil:
				fmt.Fprintln(e.stdout, "no such generation drains")
			}
			if err != nil {
				return asked(err)
			}
			return nil
		},
	}
	c.Flags().Var((*timeValue)(&timeout), "timeout", "wait no longer than this `time`")
	c = asksChain(c)
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 || args[0] == "" || len(args) > 2 {
			return usagef("give one PATH: the rendezvous of the program, its Config.Path; and the number of a GENERATION, if you like")
		}
		if len(args) == 2 {
			if n, err := strconv.Atoi(args[1]); err != nil || n < 1 {
				return usagef("GENERATION is a number, as segue status shows it, and not %q", args[1])
			}
		}
		return nil
	}
	return c
}

func (e env) stopCommand() *cobra.Command {
	timeout := 90 * time.Second
	c := &cobra.Command{
		Use: "stop [--timeout T] PATH", Short: "stop the process that serves, and wait for its end",
		Long: `Sends SIGTERM to the process that serves at PATH, by itself, and waits until it has ended. No older process is revived;
one that still drains ends when that is done. Under a supervisor use that one's own command: it would start the program
again, or take this for a crash.
` + controlStatuses,
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := bound(c.Context(), timeout, "")
			defer stop()
			if err := (&control.Client{Path: args[0]}).Stop(ctx); err != nil {
				return asked(err)
			}
			fmt.Fprintln(e.stdout, "stopped")
			return nil
		},
	}
	c.Flags().Var((*timeValue)(&timeout), "timeout", "wait no longer than this `time`")
	return asksChain(c)
}
