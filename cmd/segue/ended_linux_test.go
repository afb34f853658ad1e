package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
)

// TestEndedBySignal ends a command that waits for an upgrade: its exit status says by which signal, and not that the upgrade failed.
func TestEndedBySignal(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			dir, err := os.MkdirTemp("", "segue")
			must(t, err)
			defer os.RemoveAll(dir)
			path := filepath.Join(dir, "chain")
			gen, err := handoff.Join(t.Context(), handoff.Config{Path: path, Command: func() *exec.Cmd { return exec.Command("sleep", "1000") }})
			must(t, err)
			defer gen.Close() // ends the attempt, and the process that never becomes ready
			_, err = gen.Listen(t.Context(), "tcp", "127.0.0.1:0")
			must(t, err)
			must(t, gen.Ready(t.Context()))
			c := play(t, "segue", "upgrade", path)
			if got := c.line(t); !strings.Contains(got, "serving") {
				t.Fatalf("it says %q", got)
			}
			must(t, c.Process.Signal(sig))
			if got := c.status(t); got != 128+int(sig) || !strings.Contains(c.messages.String(), sig.String()) {
				t.Errorf("status %d, want %d; it says %s", got, 128+int(sig), c.messages.String())
			}
		})
	}
}
