package main

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/segue-go/segue/handoff"
)

// A fault is a way for a new version to be no good. A program that is copied from this one has no need of it: it is
// here so that `make demo` and the tests can show what happens then. It is named by a file and not by a flag, because
// a successor is started with the arguments of its predecessor.
type fault string

const (
	crash          fault = "crash"            // exits in start-up
	neverReady     fault = "never-ready"      // starts, and never serves
	dieAfterCommit fault = "die-after-commit" // serves for a moment, on probation
)

// inject reads a fault and makes c bring it about.
func inject(file string, c *handoff.Config) fault {
	if file == "" {
		return ""
	}
	b, err := os.ReadFile(file)
	if err != nil {
		slog.Error("no fault", "error", err)
	}
	f := fault(strings.TrimSpace(string(b)))
	switch f {
	case crash:
		slog.Error("fault: this version crashes in start-up")
		os.Exit(3)
	case dieAfterCommit:
		// It is on probation: the clients' connections stay with the predecessor until it confirms, and only what it has
		// itself accepted dies with it.
		c.Probation = time.Minute
		c.Trace = &handoff.Trace{Phase: func(_, to handoff.Phase) {
			if to == handoff.PhaseProbation {
				time.AfterFunc(50*time.Millisecond, func() {
					slog.Error("fault: this version dies after it has taken over")
					os.Exit(4)
				})
			}
		}}
	}
	return f
}

// strike is called when the program is about to serve.
func (f fault) strike(ctx context.Context) {
	if f == neverReady {
		slog.Error("fault: this version never becomes ready")
		<-ctx.Done()
	}
}
