package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/segue-go/segue/handoff/process"
)

func (e env) socketsCommand() *cobra.Command {
	var pid pidValue
	var asJSON bool
	c := &cobra.Command{
		Use: "sockets [--pid P] [--json]", Short: "list what processes listen on", DisableFlagsInUseLine: true, Args: cobra.NoArgs,
		Long: `Lists the sockets that listen for connections, or are bound for datagrams: of process P and all its descendants, or of
every process that this user may look at. A socket that several processes hold is listed once. PROCESSES are those, by
name and number, with the numbers of their descriptors; NETNS is the network namespace, as /proc/PID/ns/net shows it.

With --pid, each socket is asked for its details too, if this user may take a copy of it: reuseport (it may be one of a
group with the same address), mptcp (multipath TCP), v6only.

It needs to run as the same user and group as the process, which must not have changed its user or have capabilities of its
own; or as root. For the details, what 'segue help adopt' says of taking sockets holds too.`,
		RunE: func(c *cobra.Command, _ []string) error { return e.sockets(c.Context(), int(pid), asJSON) },
	}
	c.Flags().Var(&pid, "pid", "list those of this process and its descendants: the `number` of a process")
	c.Flags().BoolVar(&asJSON, "json", false, "print an array of objects")
	completeFlag(c, "pid", completePIDs)
	return c
}

func (e env) sockets(ctx context.Context, pid int, asJSON bool) error {
	var all []process.Socket
	var refused int
	var err error
	if pid == 0 {
		all, refused, err = process.All(ctx)
	} else {
		all, err = socketsOf(ctx, pid)
		err = e.plainly(err, pid)
	}
	if err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(e.stdout, all)
	} else {
		err = writeTable(e.stdout, all)
	}
	if err != nil {
		return err
	}
	if refused > 0 {
		fmt.Fprintf(e.stderr, "segue: %s\n", e.leftOut(refused))
	}
	if len(all) == 0 && !asJSON && pid != 0 {
		fmt.Fprintf(e.stderr, "segue: process %d and its descendants listen on nothing\n", pid)
	}
	return nil
}

func socketsOf(ctx context.Context, pid int) ([]process.Socket, error) {
	p, err := process.Open(pid)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.List(ctx)
}

func writeJSON(w io.Writer, all []process.Socket) error {
	if all == nil {
		all = []process.Socket{}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(all)
}

func writeTable(w io.Writer, all []process.Socket) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NETWORK\tADDRESS\tSTATE\tDETAILS\tNETNS\tPROCESSES")
	for _, s := range all {
		state := "bound"
		if s.Listening {
			state = "listening"
		}
		var details, holders []string
		for _, d := range []struct {
			name string
			have bool
		}{{"reuseport", s.ReusePort}, {"mptcp", s.MPTCP}, {"v6only", s.V6Only}} {
			if d.have {
				details = append(details, d.name)
			}
		}
		for _, h := range s.Holders {
			fds := make([]string, len(h.FDs))
			for i, n := range h.FDs {
				fds[i] = strconv.Itoa(n)
			}
			holders = append(holders, fmt.Sprintf("%s[%d]:%s", printable(h.Command), h.PID, strings.Join(fds, ",")))
		}
		netNS := ""
		if s.NetNS != 0 {
			netNS = strconv.FormatUint(s.NetNS, 10)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Network, printable(s.Address), state, dash(strings.Join(details, ",")), dash(netNS),
			strings.Join(holders, " "))
	}
	return t.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printable keeps names that anybody can choose from driving the terminal.
func printable(s string) string {
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}
