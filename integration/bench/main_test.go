package main

import (
	"os"
	"testing"

	"github.com/segue-go/segue/integration/leak"
)

// The processes that are measured are this program, which here is the test's.
func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		exit(play(role, os.Args[1:]))
	}
	// With the race detector each process would sleep for a second at its end (go.dev/doc/articles/race_detector).
	if err := os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0"); err != nil {
		exit(err)
	}
	os.Exit(leak.Main(m))
}
