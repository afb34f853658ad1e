package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/integration/leak"
)

func TestMain(m *testing.M) {
	switch role := os.Getenv(envRole); role {
	case "":
	case "main":
		_ = os.Unsetenv(envRole)
		main()
	default:
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

// A holder that fails leaves nothing behind: leak.Main looks for descriptors, this one for processes.
func TestStartMoverFails(t *testing.T) {
	if _, err := startMover(t.Context(), "pidfd", 0); err == nil {
		t.Fatal("no descriptors were held")
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("there is a child left: %d, %v", pid, err)
	}
}

// What cannot be measured is an error of usage.
func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-rounds", "0"}, {"-rounds", "-1"}, {"x"}} {
		c := exec.Command("/proc/self/exe", args...)
		c.Env = append(os.Environ(), envRole+"=main")
		out, err := c.CombinedOutput()
		if c.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "-rounds") {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
}
