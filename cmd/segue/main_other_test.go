//go:build !linux

package main

import (
	"strings"
	"testing"
)

// TestUnsupported wants to be told.
func TestUnsupported(t *testing.T) {
	var out strings.Builder
	if s := (env{stdout: &out, stderr: &out}).run([]string{"sockets"}); s != exitFailure || !strings.Contains(out.String(), "needs Linux") {
		t.Errorf("status %d: %s", s, &out)
	}
}
