//go:build !linux

package process_test

import (
	"context"
	"errors"
	"testing"

	"github.com/segue-go/segue/handoff/process"
)

// TestUnsupported wants an error that says so, and no panic.
func TestUnsupported(t *testing.T) {
	if _, err := process.Open(1); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Open: %v", err)
	}
	if _, _, err := process.All(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("All: %v", err)
	}
	src := process.Sockets(1, process.Options{})
	if _, err := src.Open(context.Background(), "a", "tcp", ":80"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Source.Open: %v", err)
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
}
