package main

import (
	"bytes"
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
	if got := strings.Count(b.String(), "\n"); got != 10 {
		t.Errorf("the table has %d lines:\n%s", got, b.String())
	}
}
