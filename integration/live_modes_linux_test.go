package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/integration/load"
	"github.com/segue-go/segue/integration/raw"
)

// TestConnectionsMove upgrades twelve times, in both ways, while clients ask in all the ways that package raw knows, each
// on a connection of its own that must live through all of it. SEGUE_TEST_MODE chooses one way.
func TestConnectionsMove(t *testing.T) {
	var modes []raw.Mode
	if m := os.Getenv("SEGUE_TEST_MODE"); m != "" {
		modes = []raw.Mode{raw.Mode(m)}
	}
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			w, p := liveWorld(t, network)
			run := w.asked(raw.Options{Clients: 3, Modes: modes})
			busy(t, run, 100)
			var old []*proc
			for i := range 12 {
				old = append(old, p)
				p = w.take(ways[i%2], p, "http")
				run.Upgraded()
				busy(t, run, 100)
				if run.Alive() == 0 {
					break
				}
			}
			for _, o := range old { // each when its last connection has moved, or ended
				w.ended(o)
			}
			run.Stop()
			res := run.Wait()
			if err := res.Err(); err != nil {
				t.Error(err)
			}
			w.handledOnce(res)
			for _, m := range res.Modes {
				if m.Last[p.pid] != m.Clients {
					t.Errorf("%s: of %d clients the last process, %d, has answered the last request of %d: %v", m.Mode,
						m.Clients, p.pid, m.Last[p.pid], m.Last)
				}
				t.Logf("%s: %d answers on %d connections", m.Mode, m.Answered, m.Connections)
			}
		})
	}
}

// TestThousandsOfIdleConnections keeps 2,000 connections idle through twenty upgrades, and some that never said a word.
func TestThousandsOfIdleConnections(t *testing.T) {
	t.Parallel()
	const idle, mute, upgrades = 2000, 100, 20
	w, p := liveWorld(t, "tcp")
	traffic := begun(t, load.Options{Address: w.addr, Idle: idle, Rest: 20 * time.Second})
	var silent []*lane
	for i := range mute {
		silent = append(silent, w.connect(i))
	}
	for deadline := time.Now().Add(2 * patience); traffic.Counts().Requests < idle; {
		if time.Now().After(deadline) {
			t.Fatalf("only %+v", traffic.Counts())
		}
		time.Sleep(5 * time.Millisecond) // a load cannot be waited for
	}
	old := []*proc{}
	for i := range upgrades {
		old = append(old, p)
		p = w.take(ways[i%2], p, "http")
	}
	for _, o := range old {
		w.ended(o)
	}
	asked := time.Now()
	traffic.Stop()
	res := traffic.Wait()
	if err := res.Err(); err != nil {
		t.Error(err)
	}
	if l := res.Lasting; len(l) != 1 || l[0].Connections != idle || l[0].Lost != 0 || l[0].Reconnects != 0 {
		t.Errorf("lasting: %+v", l)
	}
	last := 0
	for s := range res.Kinds[0].Samples() {
		if s.Start.After(asked) && s.PID == p.pid {
			last++
		}
	}
	if last != idle {
		t.Errorf("the last process, %d, has answered %d of %d connections at the end", p.pid, last, idle)
	}
	count(t, silent).allBy(t, p.pid, mute)
}

// TestFlat upgrades fifty times with 200 idle connections: neither descriptors nor goroutines pile up.
func TestFlat(t *testing.T) {
	t.Parallel()
	w, p := liveWorld(t, "tcp")
	w.conf.Guard, w.conf.Traced = 100*time.Millisecond, false
	ks := w.crowd(200, p.pid)
	var at5, at6 event
	for i := range 50 {
		from := p
		p = w.take(ways[i%2], from, "http")
		w.ended(from)
		switch i + 1 {
		case 5:
			at5 = w.least(p)
		case 6:
			at6 = w.least(p)
		case 49: // started in the same way as the fifth
			if e := w.stats(p, at5.FDs, at5.Gs); e.FDs > at5.FDs || e.Gs > at5.Gs {
				t.Errorf("after 49 upgrades %d descriptors and %d goroutines, after 5 %d and %d", e.FDs, e.Gs, at5.FDs, at5.Gs)
			}
		case 50:
			if e := w.stats(p, at6.FDs, at6.Gs); e.FDs > at6.FDs || e.Gs > at6.Gs {
				t.Errorf("after 50 upgrades %d descriptors and %d goroutines, after 6 %d and %d", e.FDs, e.Gs, at6.FDs, at6.Gs)
			}
		}
	}
	if at5.FDs < 200 {
		t.Errorf("%d descriptors for 200 connections: they are somewhere else", at5.FDs)
	}
	if at5.Gs >= 200 {
		t.Errorf("%d goroutines for 200 connections that are parked", at5.Gs)
	}
	count(t, ks).allBy(t, p.pid, 200)
}

// TestCurl lets curl ask over one connection, with pauses, through upgrades.
func TestCurl(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no curl: install it")
		}
		t.Skip("there is no curl")
	}
	w, p := liveWorld(t, "tcp")
	cmd := exec.CommandContext(t.Context(), curl, "--silent", "--show-error", "--no-buffer", "--max-time", "60", "--rate", "20/s",
		"--write-out", "%{http_code} %{num_connects}\n", "http://"+w.addr+"/token?token=curl-[1-100000].")
	var out, complaints strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // by the signal below
	}()
	const upgrades = 5
	var old []*proc
	for i := range upgrades + 1 {
		if i > 0 {
			old = append(old, p)
			p = w.take(ways[i%2], p, "http")
		}
		// Each process is to answer some.
		for since := time.Now(); w.handledBy(p.pid) < 3; time.Sleep(5 * time.Millisecond) {
			select {
			case <-ended:
				t.Fatalf("curl has ended: %s", complaints.String())
			default:
			}
			if time.Since(since) > patience {
				t.Fatalf("curl does not ask process %d", p.pid)
			}
		}
	}
	_ = cmd.Process.Kill()
	<-ended
	for _, o := range old {
		w.ended(o)
	}
	lines := strings.Fields(out.String())
	var answers, connects, other int
	for i := 0; i+2 < len(lines); i += 3 { // token, status, connects
		answers++
		if lines[i+1] != "200" {
			other++
		}
		if lines[i+2] != "0" {
			connects++
		}
	}
	if answers < 3*upgrades || other != 0 || connects != 1 || complaints.Len() > 0 {
		t.Errorf("%d answers, %d of them not 200, and %d connections; want at least %d, 0, 1\n%s%s", answers, other, connects,
			3*upgrades, out.String(), complaints.String())
	}
}

// handledBy returns how many requests a process has written down.
func (w *world) handledBy(pid int) int {
	w.t.Helper()
	b, err := os.ReadFile(w.conf.Handled)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Count(string(b), fmt.Sprintf(" %d\n", pid))
}
