// Command demo upgrades two servers ten times, and then with three successors that fail, while clients of several kinds use
// them, and shows what the clients noticed. It is what `make demo` runs.
//
// It builds examples/http and examples/chat, starts them on free ports and drives them with package load: requests on new
// connections and on kept-alive ones, slow ones, slow uploads, and two thousand connections that are idle nearly all the
// time; and users of the chat, who talk all the time. Upgrades happen in both ways in turn: SIGHUP to the processes that
// serve, and starting the programs once more with the same rendezvous. The exit status is 0 if no request failed, no client
// had to connect anew, no line was lost or came twice, each successor did what was expected and no process is left, but for
// connections that the successors had accepted that die after commit: they die with them, and are counted apart. These
// die before they have confirmed, so that no connection from before has moved to them: of those nothing is excused.
//
// The demo needs Linux: it makes itself the reaper of the servers' orphans, so that it can tell how each generation
// ended and end those that should not be there, each by its pid.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/segue-go/segue/integration/children"
	"github.com/segue-go/segue/integration/measured"
)

// The bounds of a run, so that the whole of it ends within a minute, whatever the servers do. Building is not included:
// it takes long where nothing is cached.
const (
	buildTimeout    = 5 * time.Minute
	scenarioTimeout = 45 * time.Second
)

// errFailed is what a run ends with that went through, but in which something was lost.
var errFailed = errors.New("failed")

func main() {
	if err := mainErr(); err != nil {
		if !errors.Is(err, errFailed) { // else it was reported at length
			fmt.Fprintln(os.Stderr, "demo:", err)
		}
		os.Exit(1)
	}
}

func mainErr() error {
	var o options
	flag.IntVar(&o.upgrades, "upgrades", 10, "how many good `upgrades` to do before the faulty ones")
	flag.Uint64Var(&o.seed, "seed", rand.Uint64()>>32, "what is random depends on this `number`")
	flag.StringVar(&o.http, "server", "", "a `program` to use instead of building examples/http")
	flag.StringVar(&o.chat, "chat", "", "a `program` to use instead of building examples/chat")
	flag.StringVar(&o.measured, "measured", "", "write what was measured to this `file`, for integration/plot")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see -help", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Stdout, o)
}

// options are the flags.
type options struct {
	upgrades int
	seed     uint64
	http     string
	chat     string
	measured string
}

// run builds, plays the scenario, reports, and leaves nothing behind but the servers' log, and that only on failure.
func run(ctx context.Context, out io.Writer, o options) (err error) {
	dir, err := os.MkdirTemp("", "segue-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	for _, p := range []struct {
		example string
		program *string
	}{{"http", &o.http}, {"chat", &o.chat}} {
		if *p.program != "" {
			continue
		}
		fmt.Fprintf(out, "building examples/%s\n", p.example)
		if *p.program, err = build(ctx, dir, p.example); err != nil {
			return err
		}
	}
	log, err := newServerLog()
	if err != nil {
		return err
	}
	defer func() {
		log.close()
		if err == nil {
			log.remove()
		} else {
			fmt.Fprintf(out, "\nThe log of all server processes is in %s\n", log.path)
		}
	}()
	kids, err := children.New()
	if err != nil {
		return err
	}
	defer kids.Close()

	d := newDemo(out, dir, o, log, kids)
	ctx, cancel := context.WithTimeoutCause(ctx, scenarioTimeout,
		fmt.Errorf("the scenario took longer than %v", scenarioTimeout))
	defer cancel()
	d.play(ctx)
	err = d.report()
	if o.measured != "" && d.result != nil {
		if werr := measured.Write(o.measured, d.measured()); err == nil {
			err = werr
		}
	}
	return err
}

// build compiles an example into dir.
func build(ctx context.Context, dir, example string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	path := filepath.Join(dir, example)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/segue-go/segue/examples/"+example)
	cmd.Env = append(os.Environ(), "GOTMPDIR="+dir) // what is killed leaves its temporary files
	cmd.WaitDelay = time.Second
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building examples/%s (the demo runs inside the repository, with go in PATH): %w\n%s",
			example, err, b)
	}
	return path, nil
}
