package children

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDescendants(t *testing.T) {
	all := map[int]process{0: {}, 1: {}, 2: {parent: 1}, 5: {parent: 2}, 6: {parent: 5, ended: true}, 7: {parent: 6},
		8: {parent: 7}, 9: {parent: 1}, 10: {parent: 99}}
	got := descendants(5, all)
	slices.Sort(got)
	if !slices.Equal(got, []int{7, 8}) {
		t.Errorf("below 5 are %v", got)
	}
}

// TestOrphansAreOurs starts a process that starts another one and ends, as generations do.
func TestOrphansAreOurs(t *testing.T) {
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()

	name := t.TempDir() + "/pid"
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("sh", "-c", "trap '' TERM; sleep 1000 & echo $!; exit 5") // sleep ignores SIGTERM too
	cmd.Stdout = out
	parent, err := c.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := c.Wait(ctx, parent); err != nil || e.Code != 5 {
		t.Fatalf("the parent: %+v, %v", e, err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	orphan, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(c.Alive(), orphan) {
		t.Errorf("%d is not among %v", orphan, c.Alive())
	}
	if err := c.Signal(os.Getppid(), syscall.Signal(0)); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a signal to somebody else: %v", err)
	}
	// SIGTERM is ignored: what does not end by itself is killed.
	if _, killed := c.EndAll(200 * time.Millisecond); !slices.Contains(killed, orphan) {
		t.Errorf("%d was not killed, but %v", orphan, killed)
	}
	if e, err := c.Wait(ctx, orphan); err != nil || e.Code != -1 {
		t.Errorf("the orphan: %+v, %v", e, err)
	}
	if left := c.Alive(); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	if _, ok := c.Exited(parent); !ok {
		t.Error("the parent's end is forgotten")
	}
}
