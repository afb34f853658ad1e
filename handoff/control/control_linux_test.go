package control_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/control"
	"github.com/segue-go/segue/integration/load"
)

// TestChain asks a chain for its status, upgrades it, well and badly, and stops it. Nothing is left.
func TestChain(t *testing.T) {
	path, addr := rendezvous(t), freePort(t)
	first := start(t, path, addr, "good")
	c := &control.Client{Path: path}
	s, err := now(t, c)
	if err != nil || s.Generation != 1 || s.PID != first.Process.Pid || s.Phase != "serving" || len(s.Sockets) != 41 || s.Since.IsZero() {
		t.Fatalf("Status: %+v, %v", s, err)
	}
	var seen []string
	if err := c.Upgrade(bounded(t), func(e control.Event) { seen = append(seen, e.Phase) }); err != nil {
		t.Fatalf("Upgrade: %v", err)
	}
	if got := strings.Join(seen, " "); got != "serving offering switching guarding draining" {
		t.Errorf("the phases are %s", got)
	}
	second, err := now(t, c)
	if err != nil || second.Generation != 2 || second.PID == s.PID || !second.Sockets[0].Inherited {
		t.Fatalf("Status after the upgrade: %+v, %v", second, err)
	}
	if err := os.WriteFile(path+".role", []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = c.Upgrade(bounded(t), nil)
	is(t, "a broken upgrade", err, control.ErrFailed, "exit status 3", "cannot find my configuration", "it serves on")
	again, err := now(t, c)
	if err != nil || again.PID != second.PID || again.Phase != "serving" || !strings.Contains(again.Error, "exit status 3") {
		t.Errorf("Status after a broken upgrade: %+v, %v", again, err)
	}
	if err := c.Stop(bounded(t)); err != nil {
		t.Errorf("Stop: %v", err)
	}
	for _, name := range []string{path, path + ".control", path + ".lock"} {
		await(t, name+" is removed", func() bool { _, err := os.Lstat(name); return os.IsNotExist(err) })
	}
	_, err = c.Status(bounded(t))
	is(t, "Status of a chain that has ended", err, control.ErrNobody)
}

// TestBusy asks for an upgrade while the generation has itself to prove. Who has asked first, and does not wait any more, has
// changed nothing by that.
func TestBusy(t *testing.T) {
	path := rendezvous(t)
	first := start(t, path, freePort(t), "good")
	if err := os.WriteFile(path+".role", []byte("probation"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	c := &control.Client{Path: path}
	done := make(chan error, 1)
	go func() { done <- c.Upgrade(ctx, nil) }()
	await(t, "probation", func() bool { s, err := now(t, c); return err == nil && s.Phase == "probation" })
	is(t, "an upgrade in probation", c.Upgrade(ctx, nil), control.ErrBusy)
	cancel()
	is(t, "the upgrade", <-done, context.Canceled)
	if s, err := now(t, c); err != nil || s.Phase != "probation" || s.Predecessor != first.Process.Pid {
		t.Errorf("Status: %+v, %v", s, err)
	}
}

// TestWrong asks where no chain answers: each has an error of its own, and none waits without a bound.
func TestWrong(t *testing.T) {
	t.Run("nobody", func(t *testing.T) {
		_, err := (&control.Client{Path: rendezvous(t)}).Status(bounded(t))
		is(t, "Status", err, control.ErrNobody)
	})
	t.Run("no path", func(t *testing.T) {
		if err := (&control.Client{}).Stop(bounded(t)); err == nil || !strings.Contains(err.Error(), "path") {
			t.Errorf("Stop: %v", err)
		}
	})
	t.Run("no socket", func(t *testing.T) {
		path := rendezvous(t)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		is(t, "Upgrade", (&control.Client{Path: path}).Upgrade(bounded(t), nil), control.ErrNoChain)
	})
	t.Run("another server", func(t *testing.T) {
		path := rendezvous(t)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		is(t, "Upgrade", (&control.Client{Path: path}).Upgrade(bounded(t), nil), control.ErrNoChain)
	})
	t.Run("killed", func(t *testing.T) {
		path, addr := rendezvous(t), freePort(t)
		first := start(t, path, addr, "bare")
		_ = first.Process.Kill()
		await(t, "its end", func() bool { return unix.Kill(first.Process.Pid, 0) != nil })
		is(t, "Stop", (&control.Client{Path: path}).Stop(bounded(t)), control.ErrNobody)
		next := start(t, path, addr, "bare") // which replaces what was left behind
		await(t, "its status", func() bool {
			s, err := now(t, &control.Client{Path: path})
			return err == nil && s.PID == next.Process.Pid
		})
	})
	t.Run("silent", func(t *testing.T) {
		path := rendezvous(t)
		first := start(t, path, freePort(t), "good")
		_ = first.Process.Signal(syscall.SIGSTOP)
		c := &control.Client{Path: path, Silence: 100 * time.Millisecond}
		_, err := c.Status(bounded(t))
		is(t, "Status", err, control.ErrSilent)
		_ = first.Process.Signal(syscall.SIGCONT)
	})
	t.Run("no control", func(t *testing.T) { // as of an older release
		path := rendezvous(t)
		start(t, path, freePort(t), "good")
		if err := os.Remove(path + ".control"); err != nil {
			t.Fatal(err)
		}
		c := &control.Client{Path: path, Settle: 50 * time.Millisecond}
		is(t, "Upgrade", c.Upgrade(bounded(t), nil), control.ErrNoControl)
	})
	t.Run("not allowed", func(t *testing.T) {
		path := rendezvous(t)
		start(t, path, freePort(t), "strict")
		_, err := (&control.Client{Path: path}).Status(bounded(t))
		is(t, "Status", err, control.ErrForbidden, "nobody may")
	})
}

// TestUnknown says to a chain what it does not know.
func TestUnknown(t *testing.T) {
	path := rendezvous(t)
	start(t, path, freePort(t), "good")
	for request, code := range map[string]string{
		`{"version":1,"request":"melt","more":true}`: "unknown",
		`{"version":7,"request":"status"}`:           "version",
		`nonsense`:                                   "malformed",
	} {
		conn, err := net.Dial("unixpacket", path+".control")
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		b := make([]byte, 64<<10)
		n := 0
		if _, err = conn.Write([]byte(request)); err == nil {
			n, err = conn.Read(b)
		}
		_ = conn.Close()
		var a struct{ Event, Code, Reason string }
		if err == nil {
			err = json.Unmarshal(b[:n], &a)
		}
		if err != nil || a.Event != "refused" || a.Code != code {
			t.Errorf("%s: %q, %v", request, b[:n], err)
		}
		if code == "unknown" && !strings.Contains(a.Reason, `"melt"`) {
			t.Errorf("it is not named: %s", a.Reason)
		}
	}
}

// TestFlood floods the control socket while a server is upgraded ten times under load: nothing is lost, and each upgrade succeeds.
func TestFlood(t *testing.T) {
	path, addr := rendezvous(t), freePort(t)
	start(t, path, addr, "good")
	clients, err := load.Start(t.Context(), load.Options{Address: addr, New: 2, Kept: 2, Idle: 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			for ctx.Err() == nil {
				conn, err := net.Dial("unixpacket", path+".control")
				if err != nil { // the queue is full, or a new owner binds
					time.Sleep(time.Millisecond)
					continue
				}
				_ = conn.SetDeadline(time.Now().Add(time.Second))
				switch i % 3 {
				case 0: // asks, and does not listen
					_, _ = conn.Write([]byte(`{"version":1,"request":"` + []string{"status", "history", "watch"}[i/3%3] + `"}`))
				case 1:
					_, _ = conn.Write(make([]byte, 60<<10))
					_, _ = conn.Read(make([]byte, 100))
				default: // says nothing
					_, _ = conn.Read(make([]byte, 100))
				}
				_ = conn.Close()
			}
		})
	}
	for range 10 {
		if err := (&control.Client{Path: path}).Upgrade(bounded(t), nil); err != nil {
			t.Errorf("Upgrade: %v", err)
			break
		}
	}
	cancel()
	wg.Wait()
	clients.Stop()
	r := clients.Wait()
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if s, err := now(t, &control.Client{Path: path}); err != nil || s.Generation != 11 {
		t.Errorf("Status: %+v, %v", s, err)
	}
}
