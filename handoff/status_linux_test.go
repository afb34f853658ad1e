package handoff_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// recorder is a Trace that keeps what it sees.
type recorder struct {
	mu             sync.Mutex
	phases         []handoff.Phase
	sent, received []string
}

func (r *recorder) trace() *handoff.Trace {
	return &handoff.Trace{
		Phase: func(c timeline.PhaseChange) {
			from, to := c.From, c.To
			r.mu.Lock()
			defer r.mu.Unlock()
			if n := len(r.phases); n > 0 && r.phases[n-1] != from {
				r.phases = append(r.phases, "gap before "+to)
			}
			r.phases = append(r.phases, to)
		},
		Sent: func(m timeline.Message) { r.mu.Lock(); defer r.mu.Unlock(); r.sent = append(r.sent, string(m.Type)) },
		Received: func(m timeline.Message) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.received = append(r.received, string(m.Type))
		},
	}
}

func (r *recorder) check(t *testing.T, who string, phases []handoff.Phase, sent, received []string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.phases, phases) {
		t.Errorf("%s: phases %v, want %v", who, r.phases, phases)
	}
	for _, s := range []struct {
		what      string
		got, want []string
	}{{"sent", r.sent, sent}, {"received", r.received, received}} {
		if len(s.got) < len(s.want) || !slices.Equal(s.got[:len(s.want)], s.want) {
			t.Errorf("%s: %s %v, want %v first", who, s.what, s.got, s.want)
		}
	}
}

// TestStatusAndTrace follows a handover from both sides.
func TestStatusAndTrace(t *testing.T) {
	path := rendezvous(t)
	var ra, rb recorder
	ca, cb := config(t, path), config(t, path)
	ca.Trace, cb.Trace = ra.trace(), rb.trace()
	ca.Guard = time.Minute
	a := join(t, ca)
	if s := a.Status(); s.Generation != 1 || s.Phase != handoff.PhaseStarting || s.PID != os.Getpid() || s.Successor != 0 || s.Predecessor != 0 {
		t.Errorf("at first: %+v", s)
	}
	la := listen(t, a, "tcp", "127.0.0.1:0")
	ready(t, a)
	b := join(t, cb)
	if s := a.Status(); s.Phase != handoff.PhaseOffering || s.Successor != os.Getpid() {
		t.Errorf("the incumbent with a successor: %+v", s)
	}
	if s := b.Status(); s.Generation != 2 || s.Phase != handoff.PhaseStarting || s.Predecessor != os.Getpid() {
		t.Errorf("the successor: %+v", s)
	}
	listen(t, b, "tcp", "127.0.0.1:0")
	listenPacket(t, b, "udp", "127.0.0.1:0")
	want := []handoff.SocketStatus{
		{Name: "tcp/127.0.0.1:0", Kind: "listener", Network: "tcp", Address: la.Addr().String(), Inherited: true},
		{Name: "udp/127.0.0.1:0", Kind: "packet", Network: "udp", Address: b.Status().Sockets[1].Address},
	}
	if s := b.Status(); !slices.Equal(s.Sockets, want) {
		t.Errorf("sockets %+v, want %+v", s.Sockets, want)
	}
	ready(t, b)
	superseded(t, a)
	if s := a.Status(); s.Phase != handoff.PhaseDraining || s.Successor != os.Getpid() || s.LastError != nil {
		t.Errorf("the superseded one: %+v", s)
	}
	shut(t, a)
	eventually(t, "no predecessor", func() bool { return b.Status().Predecessor == 0 })
	ra.check(t, "incumbent",
		[]handoff.Phase{"serving", "offering", "switching", "guarding", "draining", "stopped"},
		[]string{"welcome", "offer", "commit"}, []string{"hello", "taken", "prepared", "owned", "confirm"})
	rb.check(t, "successor", []handoff.Phase{"serving"},
		[]string{"hello", "taken", "prepared", "owned", "confirm"}, []string{"welcome", "offer", "commit"})
}

// TestPIDFile: it names the one that has confirmed, is put back on a revival, and removed by the last.
func TestPIDFile(t *testing.T) {
	path := rendezvous(t)
	name := filepath.Join(filepath.Dir(path), "pid")
	mine := strconv.Itoa(os.Getpid()) + "\n"
	has := func(want string) func() bool {
		return func() bool { got, _ := os.ReadFile(name); return string(got) == want }
	}
	c := config(t, path)
	c.PIDFile = name
	c.Guard = time.Minute
	if err := os.WriteFile(name, []byte("4711\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := join(t, c)
	if !has("4711\n")() {
		t.Error("replaced before Ready")
	}
	ready(t, a)
	eventually(t, "the PID file", has(mine))
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	r := dialRaw(t, path)
	r.owned(0)
	r.send(&wire.Confirm{})
	superseded(t, a)
	if err := os.WriteFile(name, []byte("4711\n"), 0o600); err != nil { // as the successor would
		t.Fatal(err)
	}
	r.putToken()
	r.sendBytes([]byte("?"))
	awaitPhase(t, a, handoff.PhaseServing)
	eventually(t, "the PID file after the revival", has(mine))
	eventually(t, "the end of the attempt", func() bool { return a.Status().Successor == 0 })

	gate := make(chan struct{})
	c.Check = func(context.Context) error { <-gate; return nil }
	b := join(t, c)
	if err := os.WriteFile(name, []byte("4711\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ready(t, b)
	if !has("4711\n")() {
		t.Error("replaced before it confirmed")
	}
	close(gate)
	eventually(t, "the PID file of the second", has(mine))
	shut(t, a)
	if !has(mine)() {
		t.Error("removed by one that is superseded")
	}
	if err := os.WriteFile(name, []byte("4711\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	shut(t, b)
	if !has("4711\n")() {
		t.Error("another's PID file was removed")
	}
	d := join(t, c)
	ready(t, d)
	shut(t, d)
	if _, err := os.Lstat(name); !os.IsNotExist(err) {
		t.Errorf("the last one leaves its PID file: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".pid*"))
	if err != nil || len(left) != 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
}
