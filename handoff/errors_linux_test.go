package handoff_test

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
)

// TestErrorsRead: what fails of a generation reads alike in the log, in Status and in what is returned: the operation, the phase,
// and the cause, each once.
func TestErrorsRead(t *testing.T) {
	const whole = "handoff: upgrade (serving): "
	operation := regexp.MustCompile(`handoff: [a-z]+ \(`)
	once := func(t *testing.T, what, text, begins string) {
		t.Helper()
		if !strings.HasPrefix(text, begins) || len(operation.FindAllString(text, -1)) != 1 {
			t.Errorf("%s reads %q, and not %q with the cause", what, text, begins)
		}
	}
	// logged is the error of the line with this message.
	logged := func(t *testing.T, log *logWriter, msg string) string {
		t.Helper()
		log.says(t, msg)
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, msg) {
				_, text, _ := strings.Cut(line, `error="`)
				return text
			}
		}
		return ""
	}
	t.Run("Upgrade", func(t *testing.T) {
		c := config(t, rendezvous(t))
		log := logs(t, &c)
		c.Command = func() *exec.Cmd { return exec.Command("false") }
		g, _ := first(t, c)
		err := g.Upgrade(t.Context())
		var e *handoff.Error
		if !errors.As(err, &e) || e.Op != "upgrade" || e.Phase != handoff.PhaseServing {
			t.Fatalf("Upgrade: %v", err)
		}
		once(t, "the error", err.Error(), whole)
		once(t, "the log", logged(t, log, "upgrade failed"), whole)
		if last := g.Status().LastError; last == nil || last.Error() != err.Error() || !errors.As(last, &e) {
			t.Errorf("Status has %v", last)
		}
	})
	t.Run("a caller", func(t *testing.T) {
		c := config(t, rendezvous(t))
		b := c
		log := logs(t, &c)
		a, _ := first(t, c)
		g := join(t, b)
		shut(t, g)
		once(t, "the log", logged(t, log, "handover failed"), whole)
		var e *handoff.Error
		if last := a.Status().LastError; !errors.As(last, &e) || e.Op != "upgrade" {
			t.Errorf("Status has %v", last)
		}
	})
	t.Run("Ready", func(t *testing.T) {
		c := config(t, rendezvous(t))
		log := logs(t, &c)
		g := join(t, c)
		if err := g.State("cache", handoff.Section{
			Save:    func(context.Context, io.Writer) error { return nil },
			Restore: func(context.Context, *io.SectionReader) error { return nil },
			Fresh:   func(context.Context) error { return errors.New("there is no room for it") },
		}); err != nil {
			t.Fatal(err)
		}
		err := g.Ready(t.Context())
		var e *handoff.Error
		if !errors.As(err, &e) || e.Op != "ready" || e.Phase != handoff.PhaseStarting {
			t.Fatalf("Ready: %v", err)
		}
		once(t, "the error", err.Error(), "handoff: ready (starting): ")
		once(t, "the log", logged(t, log, "this generation does not take over"), "handoff: ready (starting): ")
	})
	t.Run("revival", func(t *testing.T) {
		c := config(t, rendezvous(t))
		c.Guard = time.Minute
		b := c
		log := logs(t, &c)
		a, _ := first(t, c)
		g := join(t, b)
		listen(t, g, "tcp", "127.0.0.1:0")
		ready(t, g)
		superseded(t, a)
		if err := g.Fail(errors.New("the successor does not like it here")); err != nil {
			t.Fatal(err)
		}
		awaitPhase(t, a, handoff.PhaseServing)
		once(t, "the log", logged(t, log, "the successor failed"), whole)
		eventually(t, "the error in Status", func() bool {
			var e *handoff.Error
			return errors.As(a.Status().LastError, &e)
		})
	})
}
