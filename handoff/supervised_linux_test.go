package handoff_test

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
)

// TestSupervisedUntold: who cannot tell the supervisor that it serves does not take over, since the supervisor would end it.
func TestSupervisedUntold(t *testing.T) {
	path := rendezvous(t)
	t.Setenv("SEGUE_RENDEZVOUS", path)
	t.Setenv("SEGUE_PIDFILE", path+".missing/pid")
	g, err := handoff.Join(bounded(t), config(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Ready(bounded(t)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Ready of the first generation: %v", err)
	}
	_ = g.Close()

	first, err := handoff.Join(bounded(t), config(t, path))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if err := first.Ready(bounded(t)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SEGUE_RENDEZVOUS", path)
	t.Setenv("SEGUE_PIDFILE", path+".missing/pid")
	second, err := handoff.Join(bounded(t), config(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := second.Ready(bounded(t)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Ready of a successor: %v", err)
	}
	if p := first.Status().Phase; p != handoff.PhaseServing && p != handoff.PhaseOffering {
		t.Errorf("the first one is %v", p)
	}
}

// TestSupervised joins where a supervisor says, which is told by its own PID file; and only the Generation for which that is
// heeds it.
func TestSupervised(t *testing.T) {
	path, other := rendezvous(t), rendezvous(t)
	t.Setenv("SEGUE_RENDEZVOUS", path)
	t.Setenv("SEGUE_PIDFILE", path+".pid")

	own, err := handoff.Join(bounded(t), config(t, other))
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if err := own.Ready(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("SEGUE_RENDEZVOUS") != path {
		t.Error("a generation with a path of its own removed SEGUE_RENDEZVOUS")
	}
	if _, err := os.Stat(path + ".pid"); err == nil {
		t.Error("a generation with a path of its own wrote the supervisor's PID file")
	}

	g, err := handoff.Join(bounded(t), config(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, name := range []string{"SEGUE_RENDEZVOUS", "SEGUE_PIDFILE"} {
		if v, ok := os.LookupEnv(name); ok {
			t.Errorf("%s=%s is left in the environment of what the program starts", name, v)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the rendezvous is not where the supervisor says: %v", err)
	}
	if _, err := os.Stat(path + ".pid"); err == nil {
		t.Error("the PID file is there before Ready")
	}
	if err := g.Ready(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path + ".pid"); err != nil || string(b) != fmt.Sprintln(os.Getpid()) {
		t.Errorf("the supervisor's PID file: %q, %v", b, err)
	}

	second, err := handoff.Join(bounded(t), config(t, path)) // anybody's, on the same path
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := second.Ready(bounded(t)); err != nil {
		t.Fatal(err)
	}
	for ctx, want := bounded(t), fmt.Sprintln(os.Getpid(), "superseded"); ; time.Sleep(time.Millisecond) { // second is not of this supervisor
		b, err := os.ReadFile(path + ".pid")
		if err == nil && string(b) == want {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("the supervisor's PID file of a superseded generation: %q, %v", b, err)
		}
	}
	_ = second.Close()
	_ = g.Close()
}
