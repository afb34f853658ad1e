package handoff_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/hook"
	"github.com/segue-go/segue/listener"
)

// other is a process that does not speak the protocol; here it is in this one.
type other struct {
	lent []hook.Lent
	lns  []net.Listener
}

// start makes listeners of its own of what it is lent.
func (o *other) start(_ context.Context, cmd *exec.Cmd, lent []hook.Lent) error {
	o.lent = lent
	cmd.Process = &os.Process{Pid: 4711}
	for _, l := range lent {
		if l.Kind != "listener" {
			continue
		}
		fd, err := listener.Dup(l.Conn)
		if err != nil {
			return err
		}
		f := fd.File(l.Name)
		ln, err := net.FileListener(f)
		_ = f.Close()
		if err != nil {
			return err
		}
		o.lns = append(o.lns, ln)
	}
	return nil
}

func (o *other) close() {
	for _, l := range o.lns {
		_ = l.Close()
	}
}

// TestUpgradeTo hands over to somebody who does not speak the protocol, with a rendezvous and without.
func TestUpgradeTo(t *testing.T) {
	for _, pathless := range []bool{false, true} {
		t.Run("pathless="+strconv.FormatBool(pathless), func(t *testing.T) {
			path := rendezvous(t)
			c := config(t, path)
			c.PIDFile = path + ".pid"
			released := make(chan hook.Successor, 1)
			c.Sources = []handoff.Source{&observer{released: func(s hook.Successor) { released <- s }}}
			if pathless {
				c.Path = ""
			}
			g := join(t, c)
			ln := listen(t, g, "tcp", "127.0.0.1:0")
			unixPath := filepath.Join(filepath.Dir(path), "u")
			listenAs(t, g, "users", "unix", unixPath)
			pc := listenPacket(t, g, "udp", "127.0.0.1:0")
			file, err := g.File(bounded(t), "log", func() (*os.File, error) { return os.Create(path + ".log") })
			must(t, err)
			defer file.Close()
			ready(t, g)
			must(t, os.WriteFile(c.PIDFile, []byte("of the other process"), 0o600))
			drained := make(chan struct{})
			wait := waiting(t, g, func(context.Context) error { close(drained); return nil })
			serves(t, ln)

			o := &other{}
			defer o.close()
			serves(t, ln)
			must(t, hook.UpgradeTo(bounded(t), g, o.start))
			await(t, "the drain", drained)
			if p := result(t, "the release", released); p != (hook.Successor{PID: 4711, Foreign: true}) {
				t.Errorf("released to %+v", p)
			}
			must(t, result(t, "the end of Wait", wait))
			want := []hook.Lent{
				{Name: "tcp/127.0.0.1:0", Kind: "listener", Network: "tcp", Address: "127.0.0.1:0"},
				{Name: "users", Kind: "listener", Network: "unix", Address: unixPath},
				{Name: "udp/127.0.0.1:0", Kind: "packet", Network: "udp", Address: "127.0.0.1:0"},
				{Name: "log", Kind: "file"},
			}
			for i, l := range o.lent {
				l.Conn = nil
				if i >= len(want) || l != want[i] {
					t.Errorf("lent %+v", l)
				}
			}
			if len(o.lent) != len(want) {
				t.Errorf("lent %d things", len(o.lent))
			}
			_ = pc
			if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("accept: %v", err)
			}
			for _, l := range o.lns {
				serves(t, l)
			}
			if _, err := os.Lstat(unixPath); err != nil {
				t.Error(err)
			}
			wantGone(t, "the rendezvous", path)
			shut(t, g)
			if b, _ := os.ReadFile(c.PIDFile); string(b) != "of the other process" {
				t.Errorf("the PID file says %q", b)
			}
		})
	}
}

// TestUpgradeToFails serves on if the other process does not, and upgrades later.
func TestUpgradeToFails(t *testing.T) {
	c := config(t, rendezvous(t))
	c.PIDFile = c.Path + ".pid"
	g, ln := first(t, c)
	wait := waiting(t, g, nil)
	cause := errors.New("it does not start")
	for range 2 {
		err := hook.UpgradeTo(bounded(t), g, func(ctx context.Context, cmd *exec.Cmd, lent []hook.Lent) error {
			if _, bounded := ctx.Deadline(); !bounded || len(lent) != 1 || cmd.Path == "" {
				t.Errorf("started with %v, %v, %v", ctx, cmd, lent)
			}
			must(t, os.WriteFile(c.PIDFile, []byte("of the other process"), 0o600))
			serves(t, ln)
			// Nobody else takes over meanwhile.
			wantErr(t, "upgrade", g.Upgrade(bounded(t)), handoff.ErrBusy)
			_, err := handoff.Join(bounded(t), config(t, c.Path))
			wantErr(t, "join", err, handoff.ErrBusy)
			return cause
		})
		wantErr(t, "upgrade", err, cause)
		wantErr(t, "status", g.Status().LastError, cause)
		if p := g.Status().Phase; p != handoff.PhaseServing {
			t.Errorf("phase %s", p)
		}
		if b, _ := os.ReadFile(c.PIDFile); strings.TrimSpace(string(b)) != strconv.Itoa(os.Getpid()) {
			t.Errorf("the PID file says %q", b)
		}
		serves(t, ln)
	}
	pending(t, "the end of Wait", wait)
	next := join(t, config(t, c.Path))
	nextLn := listen(t, next, "tcp", "127.0.0.1:0")
	ready(t, next)
	must(t, result(t, "the end of Wait", wait))
	wantErr(t, "upgrade of a superseded one", hook.UpgradeTo(bounded(t), g, (&other{}).start), handoff.ErrNotOwner)
	serves(t, nextLn)
}

// TestUpgradeToInGuard releases who could be revived, before it lets go.
func TestUpgradeToInGuard(t *testing.T) {
	c := config(t, rendezvous(t))
	c.Guard = patience
	a, _ := first(t, c)
	waitA := waiting(t, a, nil)
	b := join(t, c)
	listen(t, b, "tcp", "127.0.0.1:0")
	ready(t, b)
	awaitPhase(t, a, handoff.PhaseDraining)
	waitB := waiting(t, b, nil)
	o := &other{}
	defer o.close()
	must(t, hook.UpgradeTo(bounded(t), b, o.start))
	must(t, result(t, "the end of the first", waitA))
	must(t, result(t, "the end of the second", waitB))
	serves(t, o.lns[0])
}

// TestUpgradeToClosed ends what is being started when the generation is closed.
func TestUpgradeToClosed(t *testing.T) {
	c := config(t, rendezvous(t))
	g, _ := first(t, c)
	dir := filepath.Dir(c.Path)
	started, result1 := make(chan struct{}), make(chan error, 1)
	go func() {
		result1 <- hook.UpgradeTo(context.Background(), g, func(ctx context.Context, _ *exec.Cmd, _ []hook.Lent) error {
			close(started)
			<-ctx.Done()
			return context.Cause(ctx)
		})
	}()
	await(t, "the start", started)
	shut(t, g)
	wantErr(t, "upgrade", result(t, "its end", result1), net.ErrClosed)
	wantGone(t, "the rendezvous", c.Path)
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// TestUpgradeToHolds lets go of what only one process may have.
func TestUpgradeToHolds(t *testing.T) {
	g := join(t, config(t, rendezvous(t)))
	listen(t, g, "tcp", "127.0.0.1:0")
	held := make(chan struct{})
	must(t, g.State("exact", handoff.Section{
		Save:    func(context.Context, io.Writer) error { t.Error("saved for nobody"); return syscall.EINVAL },
		Restore: func(context.Context, *io.SectionReader) error { return nil },
	}))
	must(t, g.State("lease", handoff.Section{Hold: func(context.Context) (func(), error) { close(held); return func() {}, nil }}))
	ready(t, g)
	wait := waiting(t, g, nil)
	o := &other{}
	defer o.close()
	must(t, hook.UpgradeTo(bounded(t), g, o.start))
	await(t, "Hold", held)
	must(t, result(t, "the end of Wait", wait))
}
