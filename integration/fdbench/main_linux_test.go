package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/segue-go/segue/integration/leak"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		exit(play(role, os.Args[1:]))
	}
	os.Exit(leak.Main(m))
}

// One round of everything: it measures, and leaves nothing behind. How long it took is not for a test to judge.
func TestRun(t *testing.T) {
	var b bytes.Buffer
	if err := run(t.Context(), &b, 1); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(b.String(), "\n"); got != 12 {
		t.Errorf("the table has %d lines:\n%s", got, b.String())
	}
}

// A mover that cannot be started leaves nothing behind either, at whichever step it fails: package leak looks.
func TestStartMoverFails(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if m, err := startMover(gone, "pidfd", 1); err == nil {
		t.Error("the holder was started in a context that has ended", m.close())
	}
	if m, err := startMover(t.Context(), "pidfd", 0); err == nil { // the holder fails
		t.Error("a holder of nothing", m.close())
	}
	if m, err := startMover(t.Context(), "scm", -1); err == nil {
		t.Error("less than nothing was sent", m.close())
	}
}
