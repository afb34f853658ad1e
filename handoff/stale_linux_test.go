package handoff_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
)

// TestStaleIsLoggedOnce: a generation that ends because its state is behind says so once, whoever hears of it besides.
func TestStaleIsLoggedOnce(t *testing.T) {
	for _, when := range []string{"before confirm", "in the guard"} {
		t.Run(when, func(t *testing.T) {
			c, log := logged(t, rendezvous(t))
			c.Guard = time.Minute
			s := newCell("1").exact()
			s.Probation = true
			a, _ := firstWith(t, c, s)
			end := waiting(t, a, nil)
			cb := config(t, c.Path)
			if when == "before confirm" {
				cb.Probation = time.Minute
			}
			theirs := newCell("").both()
			theirs.Probation = true
			b, _ := nextWith(t, cb, theirs)
			ready(t, b)
			if when == "in the guard" {
				superseded(t, a)
			} else {
				awaitPhase(t, a, handoff.PhaseGuarding)
			}
			if err := b.Fail(errors.New("unwell")); err != nil {
				t.Fatal(err)
			}
			err := result(t, "Wait", end)
			wantErr(t, "Wait", err, handoff.ErrStale)
			failedWith(t, a, handoff.ErrStale)
			if err := a.Fail(err); err != nil { // as serve.Run does
				t.Fatal(err)
			}
			shut(t, a)
			if n := strings.Count(log.String(), handoff.ErrStale.Error()); n != 1 {
				t.Errorf("the log says so %d times:\n%s", n, log)
			}
		})
	}
}
