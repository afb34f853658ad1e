package timeline

import (
	"os"
	"strings"
	"testing"
	"time"
)

// failed is a handoff with everything that a record may have.
func failed() Handoff {
	return Handoff{
		Version: Version, ID: "0123456789abcdef", Cause: CauseUpgrade,
		From: Process{Generation: 3, PID: 100}, To: Process{Generation: 4, PID: 200},
		Started: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC), Duration: 1234567 * time.Microsecond,
		Stages: []Span{
			{Stage: StageSpawn, Duration: 1500 * time.Microsecond},
			{Stage: StageHello, Start: 1500 * time.Microsecond, Duration: 1233067 * time.Microsecond, Running: true},
		},
		Sockets: []Sockets{{Kind: Listener, Transport: TransportSent, Offered: 2, Moved: 1}},
		Conns:   []Conns{{Kind: ConnServed, Moved: 5, Kept: 1, Refused: 1}},
		Refused: []Refusal{{Kind: Listener, Name: "tcp/:80\x1b[31m", Reason: ReasonUnclaimed}},
		Result:  Failed, Reason: ReasonDied, Error: "the successor ended",
		Exit: &Exit{Status: 3}, Output: "cannot read the configuration\n\x1b]0;evil\a\n",
	}
}

func TestTable(t *testing.T) {
	h := failed()
	done := Handoff{From: Process{Generation: 2, PID: 90}, To: Process{Generation: 3, PID: 100}, Cause: CauseCaller, Result: Done,
		Started: h.Started, Duration: 20 * time.Millisecond, Stages: []Span{{Stage: StageGap, Duration: 87 * time.Microsecond}}}
	var b strings.Builder
	if err := WriteTable(&b, []Handoff{done, h}); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"STARTED              GENERATION  PID         BY       RESULT  TOOK    GAP   WHY\n" +
		"2026-11-30 12:00:00  2 -> 3      90 -> 100   caller   done    20ms    87µs  -\n" +
		"2026-11-30 12:00:00  3 -> 4      100 -> 200  upgrade  failed  1.235s  -     died: the successor ended\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// A record is shown whole, and nothing in it reaches the terminal as a command.
func TestString(t *testing.T) {
	want, err := os.ReadFile("testdata/failed.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := failed().String(); got != string(want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// Whoever reads why a handoff failed reads what to do.
func TestAdvice(t *testing.T) {
	for _, r := range Reasons() {
		h := Handoff{Result: Failed, Reason: r}
		switch r {
		case ReasonClosed, ReasonUnclaimed, ReasonRoom: // the incumbent was ended; of resources and connections only
			if text := h.Advice(); text != "" {
				t.Errorf("%s: %q", r, text)
			}
		default:
			if h.Advice() == "" {
				t.Errorf("%s: nothing", r)
			}
		}
	}
	for _, r := range Results() {
		h := Handoff{Result: r, Reason: ReasonDied}
		if (h.Advice() == "") != (r == Done || r == Left) {
			t.Errorf("%s: %q", r, h.Advice())
		}
	}
}
