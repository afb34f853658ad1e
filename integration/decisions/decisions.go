// Package decisions holds what running processes decide to the tables of docs/protocol.md, section 7. A generation logs each
// decision of its tables at the level debug. The tests of handoff and of integration collect these lines with [Of]: one that is no row
// of the page fails the test that saw it. In a run of all tests they are kept, and [Judge] says which rows nobody went through.
package decisions

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Env names the directory in which decisions are kept. If it is not set, they are not.
const Env = "SEGUE_DECISIONS"

// Decision is one step of one side: in a state, an event led to the next state. The words are those of docs/protocol.md.
type Decision struct{ Side, State, Event, Next string }

func (d Decision) String() string {
	return fmt.Sprintf("%s: %s, %s -> %s", d.Side, d.State, d.Event, d.Next)
}

// Of returns the decision that a log line is about, if it is about one.
func Of(r slog.Record) (d Decision, ok bool) {
	if r.Message != "decided" || r.Level != slog.LevelDebug {
		return d, false
	}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "side":
			d.Side = a.Value.String()
		case "state":
			d.State = a.Value.String()
		case "event":
			d.Event = a.Value.String()
		case "next":
			d.Next = a.Value.String()
		}
		return true
	})
	return d, true
}

// Handler calls See for each decision, from any goroutine, and leaves all lines to Handler.
type Handler struct {
	slog.Handler
	See func(Decision)
}

// Enabled is true for the level of decisions.
func (h Handler) Enabled(ctx context.Context, l slog.Level) bool {
	return l == slog.LevelDebug || h.Handler.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (h Handler) Handle(ctx context.Context, r slog.Record) error {
	if d, ok := Of(r); ok {
		h.See(d)
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return Handler{h.Handler.WithAttrs(attrs), h.See}
}

// WithGroup implements slog.Handler.
func (h Handler) WithGroup(name string) slog.Handler {
	return Handler{h.Handler.WithGroup(name), h.See}
}

// Keep keeps what a test of a package saw, if somebody is going to judge. It may be called by many at once.
func Keep(pkg string, seen []Decision) error {
	dir := os.Getenv(Env)
	if dir == "" || len(seen) == 0 {
		return nil
	}
	var b strings.Builder
	for _, d := range seen {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\n", d.Side, d.State, d.Event, d.Next)
	}
	f, err := os.OpenFile(filepath.Join(dir, pkg), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(b.String())
	if errClose := f.Close(); err == nil {
		err = errClose
	}
	return err
}

// whole is the end of the name of a file that says that all tests of a package have passed.
const whole = ".whole"

// All reports whether this test binary was asked for all its tests.
func All() bool {
	for _, name := range []string{"run", "skip", "list"} {
		if f := flag.Lookup("test." + name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	f := flag.Lookup("test.bench")
	return !testing.Short() && (f == nil || f.Value.String() == "")
}

// Whole notes that all tests of a package have passed, and that none was left out.
func Whole(pkg string) error {
	dir := os.Getenv(Env)
	if dir == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, pkg+whole), nil, 0o600)
}

// kept returns what Keep kept for a package.
func kept(dir, pkg string) (seen []Decision, err error) {
	f, err := os.Open(filepath.Join(dir, pkg))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		w := strings.Split(lines.Text(), "\t")
		if len(w) != 4 {
			return nil, fmt.Errorf("%s: %q is no decision", f.Name(), lines.Text())
		}
		seen = append(seen, Decision{w[0], w[1], w[2], w[3]})
	}
	return seen, lines.Err()
}
