// Command peers upgrades the same HTTP server again and again under the same load, with segue, with other libraries, with a socket
// that somebody else holds, and by a plain restart, and counts what the clients notice. It is what `make bench-peers` runs. It is
// a module of its own, so that nothing else links those libraries.
//
// Each server is this program in a role, with the handler of package load, and is written as the library's own README says,
// with the time that it gives to old connections set to the same for all that let one set it. The
// clients never retry: a request that gets no answer is a failed request, and a connection that ends is counted.
//
// It needs Linux.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/segue-go/segue/integration/measured"
)

func main() {
	err := serveIfAsked(nil)
	if errors.Is(err, errNotAsked) {
		err = mainErr()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func mainErr() error {
	o := standard()
	flag.IntVar(&o.upgrades, "upgrades", o.upgrades, "upgrade each server this many `times`")
	flag.DurationVar(&o.grace, "grace", o.grace, "how long an old process may keep its connections, where that can be set")
	flag.Uint64Var(&o.seed, "seed", rand.Uint64()>>32, "what is random depends on this `number`")
	only := flag.String("only", "", "only the server of this `name`")
	out := flag.String("measured", "", "write what was measured to this `file`, for integration/plot")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see -help", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	begun := time.Now()
	m := measured.Peers{Upgrades: o.upgrades, Fresh: o.fresh + o.slow/2, Kept: o.kept + o.slow/2, Idle: o.idle}
	for _, p := range peers() {
		if *only != "" && p.name != *only {
			continue
		}
		fmt.Printf("%s: %d upgrades under load\n", p.name, o.upgrades)
		r, err := run(ctx, o, p)
		if err != nil {
			return err
		}
		m.Peers = append(m.Peers, r)
	}
	fmt.Println()
	if err := writeTable(os.Stdout, &m); err != nil {
		return err
	}
	fmt.Printf("\nOld processes had %v for their connections where that can be set (grace: a minute). %.0f s, seed %d\n", o.grace,
		time.Since(begun).Seconds(), o.seed)
	if *out != "" {
		return measured.Write(*out, m)
	}
	return nil
}

// options say how a server is upgraded, and under which load.
type options struct {
	upgrades          int
	grace             time.Duration // for old connections
	pause             time.Duration // between upgrades, about
	seed              uint64
	fresh, kept, slow int // clients; every other one of slow keeps its connection
	idle              int // connections
}

// standard is what make bench-peers does.
func standard() options {
	return options{upgrades: 10, grace: 5 * time.Second, pause: 800 * time.Millisecond, fresh: 6, kept: 24, slow: 12, idle: 200}
}
