package otel_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestLinks: a program that uses the package links the API of OpenTelemetry for it, and of segue the records.
func TestLinks(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	if !strings.Contains(string(out), "go.opentelemetry.io/otel/trace\n") {
		t.Errorf("it does not link the API:\n%s", out)
	}
	for pkg := range strings.Lines(string(out)) {
		pkg = strings.TrimSpace(pkg)
		ours, own := strings.CutPrefix(pkg, "github.com/segue-go/segue/")
		switch {
		case strings.HasPrefix(pkg, "go.opentelemetry.io/otel/sdk"), strings.HasPrefix(pkg, "go.opentelemetry.io/otel/exporters"):
			t.Errorf("it links %s, which is for tests only", pkg)
		case own && ours != "handoff/otel" && ours != "handoff/timeline":
			t.Errorf("it links %s", pkg)
		}
	}
}
