// Package fault lets an example fail as a new version might that is no good. A program that is copied from an example has no
// need of it: it is there so that `make demo` and the tests can show what happens then.
package fault

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/timeline"
)

// A Fault is a way to be no good. It is named by a file and not by a flag, because a successor is started with the arguments
// of its predecessor.
type Fault string

// What can go wrong. The empty Fault is none.
const (
	Crash          Fault = "crash"            // exits in start-up
	NeverReady     Fault = "never-ready"      // starts, and never serves
	DieAfterCommit Fault = "die-after-commit" // serves for a moment, on probation
)

// Inject reads a fault from a file, unless the name is empty, and makes c bring it about.
func Inject(file string, c *handoff.Config) Fault {
	if file == "" {
		return ""
	}
	b, err := os.ReadFile(file)
	if err != nil {
		slog.Error("no fault", "error", err)
	}
	f := Fault(strings.TrimSpace(string(b)))
	switch f {
	case Crash:
		slog.Error("fault: this version crashes in start-up")
		os.Exit(3)
	case DieAfterCommit:
		// It is on probation: the clients' connections stay with the predecessor until it confirms, and only what it has
		// itself accepted dies with it.
		c.Probation = time.Minute
		c.Trace = &handoff.Trace{Phase: func(c timeline.PhaseChange) {
			if c.To == handoff.PhaseProbation {
				time.AfterFunc(50*time.Millisecond, func() {
					slog.Error("fault: this version dies after it has taken over")
					os.Exit(4)
				})
			}
		}}
	}
	return f
}

// Strike is called when the program is about to serve.
func (f Fault) Strike(ctx context.Context) {
	if f == NeverReady {
		slog.Error("fault: this version never becomes ready")
		<-ctx.Done()
	}
}
