package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// Everything can be measured, and nothing is left behind. What comes out does not matter.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	var b bytes.Buffer
	if err := run(ctx, &b, options{rounds: 1, slice: time.Millisecond, idle: 600, verbose: true}); err != nil {
		t.Fatalf("%v\n%s", err, &b)
	}
	for _, want := range []string{
		"accepts, gen.Listen", "requests on new", "requests on kept", "ServeFile", "allocations", "older generations alive",
		"to OWNED", "accept gap", "Upgrade", "successor  sent owned",
		"last one parked", "nobody's hands", "parked connection", "p99", "bufio.Scanner", "chunked",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(b.String(), "NaN") {
		t.Error("something was not measured")
	}
	if t.Failed() {
		t.Log(b.String())
	}
}

// A run that is interrupted ends its processes.
func TestRunInterrupted(t *testing.T) {
	for _, section := range []func(context.Context, options, string) ([]figure, error){
		throughput,
		generations,
		moving,
		latency,
		bodies,
		func(ctx context.Context, o options, dir string) ([]figure, error) {
			f, _, err := handover(ctx, o, dir)
			return f, err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		dir, err := os.MkdirTemp("", "bench") // short: it holds Unix sockets
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = section(ctx, options{rounds: 1 << 20, slice: 10 * time.Millisecond, idle: 600}, dir)
		cancel()
		if err == nil || time.Since(began) > patience {
			t.Errorf("ended after %v: %v", time.Since(began), err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
}
