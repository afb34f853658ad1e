// Command plot draws what `make demo` or `make bench-peers` has measured. It is a module of its own, so that nothing else links
// the plot library.
package main

import (
	"fmt"
	"os"

	"github.com/segue-go/segue/integration/measured"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

// run draws one picture, as an SVG and as a PNG.
func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: plot demo|peers MEASUREMENTS PICTURE, where PICTURE is a path without .svg and .png")
	}
	kind, from, to := args[0], args[1], args[2]
	var pic *picture
	switch kind {
	case "demo":
		var m measured.Demo
		if err := measured.Read(from, &m); err != nil {
			return err
		}
		if len(m.Generations) == 0 || len(m.Requests) == 0 {
			return fmt.Errorf("%s has no request of any generation: there is nothing to draw", from)
		}
		pic = drawDemo(&m)
	case "peers":
		var m measured.Peers
		if err := measured.Read(from, &m); err != nil {
			return err
		}
		if len(m.Peers) == 0 {
			return fmt.Errorf("%s has no server: there is nothing to draw", from)
		}
		pic = drawPeers(&m)
	default:
		return fmt.Errorf("there is no picture of %q, only of demo and peers", kind)
	}
	for _, name := range []string{to + ".svg", to + ".png"} {
		if err := pic.save(name); err != nil {
			return err
		}
		fmt.Println("picture:", name)
	}
	return nil
}
