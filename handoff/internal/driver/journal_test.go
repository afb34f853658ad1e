package driver

import (
	"testing"

	"github.com/segue-go/segue/handoff/internal/succession"
)

// TestJournalPast: who looks seldom gets the last phases, and how many were lost.
func TestJournalPast(t *testing.T) {
	var j journal
	phases := []Phase{succession.PhaseServing, succession.PhaseOffering}
	for i := range 40 {
		j.note(phases[i%2])
	}
	all, lost, count := j.past(3)
	if len(all) != 32 || lost != 5 || count != 40 || all[31].phase != phases[1] || all[31].at.IsZero() {
		t.Errorf("%d phases, %d lost, of %d", len(all), lost, count)
	}
	if all, lost, _ := j.past(count); len(all) != 0 || lost != 0 {
		t.Errorf("nothing is new: %d, %d lost", len(all), lost)
	}
}
