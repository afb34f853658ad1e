package main

import (
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/timeline"
)

// A version of this program is what a button starts. They are one binary; in an application each would be a build of its own.
type version string

const (
	good   version = "good"
	broken version = "broken" // ends in start-up
	killed version = "killed" // is killed when it has served for a moment, on probation
	unwell version = "unwell" // serves, and finds after a moment that it cannot go on
)

const (
	// killedAfter is how long the killed version serves.
	killedAfter = 700 * time.Millisecond
	// unwellAfter is how many requests the unwell version answers, and unwellWithin how long it waits for them. That is shorter
	// than the guard, within which all can be given back.
	unwellAfter  = 12
	unwellWithin = 3 * time.Second
	guard        = 5 * time.Second
)

// versionEnv names the version in the environment of a successor, whose arguments are those of its predecessor.
const versionEnv = "DASHBOARD_VERSION"

// errUnwell is what an unwell version says of itself.
var errUnwell = errors.New("this version finds that its disk is full")

// thisVersion is that of this process. Its own successors do not find it in their environment.
func thisVersion() version {
	v := version(os.Getenv(versionEnv))
	_ = os.Unsetenv(versionEnv) // the name is well-formed
	return v
}

// prepare does what is to happen before this version joins.
func (v version) prepare(c *handoff.Config) {
	switch v {
	case broken:
		slog.Error("this version is broken: it cannot read its configuration")
		os.Exit(3)
	case killed:
		// Until it confirms, live connections stay with the old process. So only what it has itself accepted dies with it.
		c.Probation = time.Minute
		c.Trace = &handoff.Trace{Phase: func(p timeline.PhaseChange) {
			if p.To == timeline.PhaseProbation {
				time.AfterFunc(killedAfter, kill)
			}
		}}
	}
}

// kill ends this process as kill -9 does.
func kill() {
	slog.Warn("this version is killed")
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Kill() // a process may kill itself
	}
}
