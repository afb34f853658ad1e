package handoff_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/internal/startenv"
)

// dryRaw is a successor that says that it is a dry run, and has taken all that it was offered.
func dryRaw(t *testing.T, path string) *rawPeer {
	t.Helper()
	r := dialRaw(t, path)
	r.features = []string{"dry-run"}
	r.voice = func(m wire.Message) {
		if h, ok := m.(*wire.Hello); ok {
			h.DryRun = true
		}
		r.send(m)
	}
	if w := r.welcomed(); len(w.Features) != 1 || w.Heir {
		t.Errorf("WELCOME: %+v", w)
	}
	r.takeAll()
	return r
}

// A dry run that is well is told so instead of COMMIT. It is no failure of the incumbent. One that prepares itself makes room for others.
func TestDryRunYields(t *testing.T) {
	path := rendezvous(t)
	c := config(t, path)
	c.Command = func() *exec.Cmd { return exec.Command("false") }
	a, _ := first(t, c)
	r := dryRaw(t, path)
	r.prepared(r.receipts(), 0)
	if m := hear[*wire.Abort](r); !m.DryRun {
		t.Errorf("got %+v", m)
	}
	if !r.takeToken() {
		t.Error("the incumbent has taken its token")
	}
	r.close()
	awaitPhase(t, a, handoff.PhaseServing)
	if s := a.Status(); s.LastError != nil {
		t.Errorf("a dry run counts as a failure: %v", s.LastError)
	}

	r = dryRaw(t, path)
	var child *handoff.ChildError
	if err := a.Upgrade(bounded(t)); !asError(err, &child) {
		t.Errorf("Upgrade beside a dry run: %v, want the end of the command that it started", err)
	}
	if m := hear[*wire.Abort](r); m.DryRun {
		t.Errorf("got %+v", m)
	}
	r.close()
	r = dryRaw(t, path)
	b := join(t, config(t, path))
	hear[*wire.Abort](r)
	r.close()
	supersede(t, a, b)
}

// A dry run gives up before PREPARED, if the incumbent does not know of it, and says what it has found. Alone it is nothing.
func TestDryRunOldIncumbent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report")
	t.Setenv(startenv.DryRun, file)
	path := rendezvous(t)
	if g, err := handoff.Join(t.Context(), config(t, path)); err == nil {
		_ = g.Close()
		t.Error("alone, a dry run serves")
	}
	server := rawListener(t, path)
	joined := make(chan *handoff.Generation, 1)
	go func() {
		g, err := handoff.Join(bounded(t), config(t, path))
		if err != nil {
			t.Errorf("Join: %v", err)
		}
		joined <- g
	}()
	r := acceptRaw(t, server)
	if h := hear[*wire.Hello](r); !h.DryRun {
		t.Errorf("HELLO: %+v", h)
	}
	r.welcome(1)
	r.offer([]wire.Item{
		{Name: "tcp/127.0.0.1:0", Kind: wire.KindListener, Network: "tcp", Address: "127.0.0.1:0"},
		{Name: "other", Kind: wire.KindListener, Network: "tcp", Address: "127.0.0.1:0"},
	}, tcpListener(t), tcpListener(t))
	g := <-joined
	if g == nil {
		return
	}
	defer g.Close()
	listen(t, g, "tcp", "127.0.0.1:0")
	if err := g.Ready(bounded(t)); err == nil {
		t.Error("Ready returns nil")
	}
	for _, m := range r.hangsUp() {
		if _, ok := m.(*wire.Prepared); ok {
			t.Error("it has said PREPARED, to which COMMIT is the answer")
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report startenv.DryReport
	if err := json.Unmarshal(b, &report); err != nil || len(report.Taken) != 1 || len(report.Left) != 1 || report.Left[0] != "other" || report.Checked || report.Error != "" {
		t.Errorf("%s: %v", b, err)
	}
}
