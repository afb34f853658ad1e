package main

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/segue-go/segue/integration/leak"
)

// TestMain serves instead of testing in a process that a test has started for that.
func TestMain(m *testing.M) {
	err := serveIfAsked(planted)
	switch {
	case errors.Is(err, errNotAsked):
		os.Exit(leak.Main(m))
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
