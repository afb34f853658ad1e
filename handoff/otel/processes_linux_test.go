package otel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/control"
	"github.com/segue-go/segue/handoff/otel"
	"github.com/segue-go/segue/handoff/serve"
	"github.com/segue-go/segue/handoff/timeline"
)

// patience bounds each wait of a test.
const patience = 20 * time.Second

// Where the servers of a test meet, and how long their guard is.
const envPath, envGuard = "SEGUE_TEST_PATH", "SEGUE_TEST_GUARD"

// span is what a process writes of one that it exports.
type span struct {
	By         int // process id
	Name       string
	Trace      string
	ID, Parent string
	Start, End time.Time
	Attributes map[string]any
	Failed     bool
	Why        string
	Events     []string
}

func (s span) text(key string) string { v, _ := s.Attributes[key].(string); return v }
func (s span) number(key string) int  { v, _ := s.Attributes[key].(float64); return int(v) }

// toFile appends spans to a file that all processes of a test share.
type toFile struct{ path string }

func (f toFile) Shutdown(context.Context) error { return nil }

func (f toFile) ExportSpans(_ context.Context, all []sdk.ReadOnlySpan) error {
	for _, s := range all {
		line := span{
			By: os.Getpid(), Name: s.Name(), Trace: s.SpanContext().TraceID().String(), ID: s.SpanContext().SpanID().String(),
			Start: s.StartTime(), End: s.EndTime(), Attributes: map[string]any{}, Failed: s.Status().Code == codes.Error, Why: s.Status().Description,
		}
		if s.Parent().IsValid() {
			line.Parent = s.Parent().SpanID().String()
		}
		for _, a := range s.Attributes() {
			line.Attributes[string(a.Key)] = a.Value.AsInterface()
		}
		for _, e := range s.Events() {
			line.Events = append(line.Events, e.Name)
		}
		b, err := json.Marshal(line)
		if err != nil {
			return err
		}
		w, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if _, err := w.Write(append(b, '\n')); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	return nil
}

// play is a server whose successors play the role that the file beside the rendezvous names. All but the first generation leave a socket where it is.
func play(role string) (err error) {
	if role == "broken" {
		return errors.New("cannot find my configuration")
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	path := os.Getenv(envPath)
	guard, err := time.ParseDuration(os.Getenv(envGuard))
	if err != nil {
		return err
	}
	gen, err := handoff.Join(ctx, handoff.Config{
		Path: path, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Guard: guard, DrainTimeout: patience, ReadyTimeout: patience,
		Command: func() *exec.Cmd {
			next, err := os.ReadFile(path + ".role")
			if err != nil {
				next = []byte("good")
			}
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), envRole+"="+string(next))
			return cmd
		},
	})
	if err != nil {
		return err
	}
	p := sdk.NewTracerProvider(sdk.WithSyncer(toFile{path + ".spans"}))
	spans := otel.New(gen, p)
	defer func() {
		err = errors.Join(err, gen.Close(), spans.Shutdown(context.Background()), p.Shutdown(context.Background()))
	}()
	ln, err := gen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if role == "first" {
		if _, err := gen.ListenAs(ctx, "old", "tcp", "127.0.0.1:0", nil); err != nil {
			return err
		}
	}
	return serve.Run(ctx, gen, serve.HTTP(&http.Server{Handler: http.NotFoundHandler()}, ln))
}

// chain is a chain of real processes.
type chain struct {
	*control.Client
	t    *testing.T
	path string
}

// begin starts the first generation.
func begin(t *testing.T, guard time.Duration) *chain {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil { // what loses its parent becomes ours
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	c := &chain{Client: &control.Client{Path: path, Settle: 100 * time.Millisecond}, t: t, path: path}
	log, err := os.Create(path + ".log") // no pipe: who reads one waits for all that have it
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envRole+"=first", envPath+"="+path, envGuard+"="+guard.String())
	cmd.Stdout, cmd.Stderr = log, log
	if err := errors.Join(cmd.Start(), log.Close()); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Release(); err != nil { // the end of the test reaps it, with all others
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.end()
		if b, err := os.ReadFile(path + ".log"); t.Failed() {
			t.Logf("the log (%v):\n%s", err, b)
		}
		_ = os.RemoveAll(dir)
	})
	c.until("the server", func() bool { return c.serving().Phase == timeline.PhaseServing })
	return c
}

// until waits for something that no event tells.
func (c *chain) until(what string, ok func() bool) {
	c.t.Helper()
	for begun := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > patience {
			c.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func (c *chain) bounded() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *chain) serving() timeline.Generation {
	s, err := c.Status(c.bounded())
	if err != nil || len(s.Generations) == 0 {
		return timeline.Generation{}
	}
	return s.Generations[0]
}

// upgrade upgrades to a successor that plays role.
func (c *chain) upgrade(role string) error {
	c.t.Helper()
	if err := os.WriteFile(c.path+".role", []byte(role), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return c.Upgrade(c.bounded(), nil)
}

// end stops who serves, and waits until no process is left.
func (c *chain) end() {
	c.t.Helper()
	_ = c.Stop(c.bounded())
	c.until("the end of all", func() bool {
		_, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		return errors.Is(err, unix.ECHILD)
	})
}

// spans returns what was exported so far: handoffs in their order, and the stages of each.
func (c *chain) spans() (handoffs []span, stages map[string][]span) {
	c.t.Helper()
	b, err := os.ReadFile(c.path + ".spans")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.t.Fatal(err)
	}
	stages = make(map[string][]span)
	for line := range bytes.Lines(b) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it is being written
		}
		var s span
		if err := json.Unmarshal(line, &s); err != nil {
			c.t.Fatal(err)
		}
		if s.Parent == "" {
			handoffs = append(handoffs, s)
		} else {
			stages[s.Trace+s.Parent] = append(stages[s.Trace+s.Parent], s)
		}
	}
	return handoffs, stages
}

// whole fails the test unless stages are those of h: within it, and one after the other, but for those that begin together.
func whole(t *testing.T, h span, stages []span, want ...timeline.Stage) {
	t.Helper()
	var last span
	found := make(map[timeline.Stage]bool)
	for _, s := range stages {
		st := timeline.Stage(strings.TrimPrefix(s.Name, "segue.handoff."))
		found[st] = true
		if s.Start.Before(h.Start) || s.End.After(h.End) || s.End.Before(s.Start) || s.By != h.By {
			t.Errorf("%s: from %v to %v by %d; the handoff: from %v to %v by %d", s.Name, s.Start, s.End, s.By, h.Start, h.End, h.By)
		}
		if s.Start.Before(last.End) {
			t.Errorf("%s: from %v to %v; but %s: from %v to %v", s.Name, s.Start, s.End, last.Name, last.Start, last.End)
		}
		if st != timeline.StageConnections && st != timeline.StageGuard {
			last = s
		}
		if s.Attributes["segue.stage.running"] == true {
			t.Errorf("%s runs", s.Name)
		}
	}
	for _, st := range want {
		if !found[st] {
			t.Errorf("no stage %s: %+v", st, stages)
		}
	}
}

// TestProcesses: one upgrade that fails, and two that are done, by real processes. Each is exported once, by who owned in the end.
func TestProcesses(t *testing.T) {
	c := begin(t, 200*time.Millisecond)
	a := c.serving()
	if err := c.upgrade("broken"); err == nil {
		t.Error("the broken one is done")
	}
	c.until("the failed one", func() bool { all, _ := c.spans(); return len(all) == 1 })
	if err := c.upgrade("good"); err != nil {
		t.Fatal(err)
	}
	b := c.serving()
	c.until("the first upgrade", func() bool { all, _ := c.spans(); return len(all) == 2 })
	if err := c.upgrade("good"); err != nil {
		t.Fatal(err)
	}
	d := c.serving()
	c.end() // the last is exported by Shutdown, or before
	all, stages := c.spans()
	if len(all) != 3 {
		t.Fatalf("%d handoffs: %+v", len(all), all)
	}
	failed := all[0]
	if failed.By != a.PID || failed.text("segue.handoff.result") != "failed" || !failed.Failed || !strings.Contains(failed.Why, ": ") ||
		failed.number("segue.from.pid") != a.PID || failed.number("segue.successor.exit_status") != 3 {
		t.Errorf("the failed one: %+v", failed)
	}
	whole(t, failed, stages[failed.Trace+failed.ID], timeline.StageSpawn, timeline.StageHello)
	for i, want := range []struct{ from, to timeline.Generation }{{a, b}, {b, d}} {
		h := all[i+1]
		if h.By != want.to.PID || h.text("segue.handoff.result") != "done" || h.Failed || h.Attributes["segue.handoff.joined"] != true ||
			h.number("segue.from.pid") != want.from.PID || h.number("segue.to.pid") != want.to.PID ||
			h.number("segue.from.generation") != i+1 || h.number("segue.to.generation") != i+2 ||
			h.text("segue.handoff.cause") != "upgrade" || h.text("segue.handoff.transport") == "" || h.number("segue.sockets.moved") != 1 {
			t.Errorf("upgrade %d: %+v", i+1, h)
		}
		whole(t, h, stages[h.Trace+h.ID], timeline.StageSpawn, timeline.StageHello, timeline.StageOffer, timeline.StageWarmup,
			timeline.StagePrepare, timeline.StageGap, timeline.StageProbation, timeline.StageGuard, timeline.StageDrain)
	}
	if got, want := fmt.Sprint(all[1].Events), "[refused done]"; got != want {
		t.Errorf("events of the first upgrade: %s, want %s", got, want)
	}
}

// TestRevival: a successor that is killed in the guard has exported nothing, and who serves again exports the handoff once, as revived.
func TestRevival(t *testing.T) {
	c := begin(t, time.Minute)
	a := c.serving()
	if err := c.upgrade("good"); err != nil {
		t.Fatal(err)
	}
	b := c.serving()
	if err := unix.Kill(b.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.until("the revival", func() bool { all, _ := c.spans(); return len(all) == 1 })
	c.end()
	all, stages := c.spans()
	if len(all) != 1 {
		t.Fatalf("%d handoffs: %+v", len(all), all)
	}
	h := all[0]
	if h.By != a.PID || h.text("segue.handoff.result") != "revived" || !h.Failed || h.text("segue.handoff.reason") != "died" ||
		h.number("segue.to.pid") != b.PID || h.Attributes["segue.handoff.joined"] != true || h.text("segue.successor.signal") != "killed" {
		t.Errorf("the revived one: %+v", h)
	}
	whole(t, h, stages[h.Trace+h.ID], timeline.StageSpawn, timeline.StageWarmup, timeline.StageGap, timeline.StageProbation, timeline.StageGuard)
}
