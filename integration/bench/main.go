// Command bench measures what segue costs, each figure beside its floor: the same thing without segue, in the same run
// and on the same machine. It is what `make bench` runs. Benchmarks of single functions are `go test -bench` benchmarks
// of their packages.
//
// All rounds of a figure alternate with those of its floor, so that what else happens on the machine hits both; what is
// compared is the median over the rounds. A missed aim is shown in the table, and is no error: how long things take is
// for a person to judge who knows what else the machine did.
//
// Servers and their load are separate processes on the loopback interface. It needs Linux, and Go for building an empty
// program.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// bound is for the whole of a run, whatever the servers do.
const bound = 4 * time.Minute

// options are what the flags say.
type options struct {
	rounds  int
	slice   time.Duration
	idle    int            // connections that move at once
	only    *regexp.Regexp // nil: everything
	verbose bool
}

func main() {
	if role := os.Getenv(envRole); role != "" {
		exit(play(role, os.Args[1:]))
	}
	exit(mainErr())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func mainErr() error {
	var o options
	flag.IntVar(&o.rounds, "rounds", 60, "take medians over this `number` of rounds, fewer of what takes long")
	flag.DurationVar(&o.slice, "slice", 25*time.Millisecond, "how long to apply load, in each round of a throughput")
	flag.IntVar(&o.idle, "idle", 18_000, "how many idle connections move at once; RLIMIT_NOFILE bounds it")
	flag.BoolVar(&o.verbose, "v", false, "show where the time of a handover goes")
	flag.Func("run", "only the sections that match this `regexp`: throughput, generations, moving, latency, bodies, handover", func(s string) (err error) {
		o.only, err = regexp.Compile(s)
		return err
	})
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q; see -help", flag.Arg(0))
	case o.rounds < 1 || o.slice <= 0 || o.idle < 1:
		return errors.New("-rounds, -slice and -idle must be positive")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	return run(ctx, os.Stdout, o)
}
