package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/segue-go/segue/integration/measured"
)

// writeTable writes a line for each server.
func writeTable(w io.Writer, m *measured.Peers) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "server\tupgrades\trequests\tfailed\tof them slow\tforced reconnects\tof them told\tidle lost\tlongest wait\t")
	for _, p := range m.Peers {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%v\t\n", p.Name, p.Upgrades, p.Requests, p.Failed, p.SlowLost, p.Forced, p.Told,
			p.IdleLost, time.Duration(p.Longest*float64(time.Second)).Round(time.Millisecond))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nfailed: requests without their answer. forced reconnects: of %d clients that keep their connection; told: by an"+
		" answer\nwith Connection: close. idle lost: of %d idle connections at a time, each of which is made anew when it is lost.\n", m.Kept, m.Idle)
	fmt.Fprintln(w, "What each promises:")
	for _, p := range m.Peers {
		fmt.Fprintf(w, "  %s: %s\n", strings.TrimSpace(p.Name+" "+p.Version), p.Promises)
	}
	return nil
}
