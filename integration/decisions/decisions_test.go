package decisions

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/segue-go/segue/integration/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

func table(t *testing.T) Table {
	t.Helper()
	table, err := Read("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(table) < 300 {
		t.Fatalf("only %d rows: is the page not read any more?", len(table))
	}
	return table
}

func TestRowOf(t *testing.T) {
	table := table(t)
	for d, want := range map[Decision]string{
		{"incumbent", "GUARD", "the guard is over", "ASKING"}:                       "",
		{"incumbent", "COMMITTED", "OWNED, the token is there", "RECLAIMING OWNED"}: "",
		{"successor", "FREE", "COMMIT", "FREE"}:                                     "",
		{"successor", "GONE", "COMMIT", "GONE"}:                                     "",
		{"incumbent", "GUARD", "the guard is over", "RELEASED"}:                     "the table says -> ASKING",
		{"incumbent", "GUARD", "a successor", "GUARD"}:                              "a case that cannot be",
		{"successor", "GUARD", "the guard is over", "ASKING"}:                       "a case that cannot be",
		{"successor", "GONE", "COMMIT", "ALONE"}:                                    "the table says -> GONE",
	} {
		_, err := table.RowOf(d)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", d, err, want)
		}
	}
}

// TestHandler: decisions are seen whatever the level of the other handler, which gets what it would get without.
func TestHandler(t *testing.T) {
	var seen []Decision
	var b bytes.Buffer
	l := slog.New(Handler{slog.NewTextHandler(&b, nil), func(d Decision) { seen = append(seen, d) }}).With("generation", 2)
	l.Debug("decided", "side", "incumbent", "state", "IDLE", "event", "closed", "next", "CLOSED")
	l.Debug("phase", "from", "a", "to", "b")
	l.Info("hello")
	if want := (Decision{"incumbent", "IDLE", "closed", "CLOSED"}); len(seen) != 1 || seen[0] != want {
		t.Errorf("saw %v", seen)
	}
	if s := b.String(); !strings.Contains(s, "hello") || strings.Count(s, "\n") != 1 {
		t.Errorf("logged %q", s)
	}
	if !l.Enabled(context.Background(), slog.LevelDebug) {
		t.Error("who asks before does not log decisions")
	}
}

// TestListed: what is listed as missing are rows, and not too many.
func TestListed(t *testing.T) {
	table := table(t)
	listed, err := readMissing(table, "testdata/missing.txt")
	if err != nil || len(listed) > len(table)/most {
		t.Error(len(listed), err)
	}
}

func TestJudge(t *testing.T) {
	table := table(t)
	all := sorted(table)
	through := func(rows []Row) (seen []Decision) {
		for _, r := range rows {
			d := Decision{r.Side, r.State, r.Event, table[r]}
			if d.Event == anyEvent {
				d.Event = "the end"
			}
			seen = append(seen, d)
		}
		return seen
	}
	for _, tt := range []struct {
		name    string
		handoff []Decision
		missing string
		whole   []string
		want    string // in the error
		says    string // in the output
	}{
		{"all", through(all), "", Packages, "", "0 rows are missing"},
		{"not all tests", through(all[:1]), "", Packages[:1], "", "not all tests of integration have run"},
		{"one is missing", through(all[1:]), "", Packages, "no test went through " + all[0].String(), ""},
		{"it is listed", through(all[1:]), all[0].String() + " | because", Packages, "", "1 rows are missing; 1 are listed"},
		{"it is not missing", through(all), all[0].String() + " | because", Packages, "a test went through " + all[0].String(), ""},
		{"it is, not always", through(all), all[0].String() + " | not always: because", Packages, "", "0 rows are missing; 1 are listed"},
		{"listed twice", through(all), strings.Repeat(all[0].String()+" | because\n", 2), Packages, "twice", ""},
		{"no row", through(all), "incumbent | NOWHERE | closed | because", Packages, "no row", ""},
		{"no reason", through(all), all[0].String(), Packages, "is not side | state | event | reason", ""},
		{"a wrong decision", append(through(all), Decision{"incumbent", "IDLE", "PONG", "IDLE"}), "", Packages, "a case that cannot be", ""},
		{"too many", through(all[60:]), lines(all[:60]), Packages, "more than one in 10", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv(Env, dir)
			missing := filepath.Join(t.TempDir(), "missing")
			must(t, os.WriteFile(missing, []byte(tt.missing), 0o600))
			must(t, Keep("handoff", tt.handoff))
			must(t, Keep("integration", through(all[:1])[:0]))
			must(t, Keep("integration", tt.handoff[len(tt.handoff)-1:]))
			for _, pkg := range tt.whole {
				must(t, Whole(pkg))
			}
			var b bytes.Buffer
			err := Judge(&b, table, missing, dir)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if !strings.Contains(b.String(), tt.says) {
				t.Errorf("it says %q", b.String())
			}
		})
	}
}

func lines(rows []Row) string {
	var b strings.Builder
	for _, r := range rows {
		b.WriteString(r.String() + " | because\n")
	}
	return b.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
