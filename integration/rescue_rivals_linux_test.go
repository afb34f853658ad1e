package integration

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/listener"
)

// witness is a Source that has nothing, and remembers what it was told.
type witness struct {
	handoff.BaseSource
	mu     sync.Mutex
	opened int
	phases []handoff.Phase
}

func (s *witness) Open(context.Context, string, string, string) (*listener.FD, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	return nil, nil
}

func (s *witness) Phase(_, to handoff.Phase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phases = append(s.phases, to)
}

// TestRescueDiesMeanwhile: the incumbent ends while it is rescued. What was taken then may be another's, who has got its
// number, so that it is dropped; the place is free, and taken. An incumbent that lives is not killed for nothing.
func TestRescueDiesMeanwhile(t *testing.T) {
	for _, c := range []struct {
		name       string
		dies, took bool
	}{{"after the take", true, true}, {"before the take", true, false}, {"not at all", false, false}} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			a := w.serving("tcp")
			w.signal(a, unix.SIGSTOP)
			w.stopped(a)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			source := &witness{}
			g, err := handoff.Join(ctx, handoff.Config{
				Path: w.conf.Path, StepTimeout: 500 * time.Millisecond,
				Rescue: func(_ context.Context, who handoff.Peer) (handoff.Source, error) {
					if who.PID != a.pid {
						t.Errorf("to be rescued: pid %d, want %d", who.PID, a.pid)
					}
					if !c.dies {
						return nil, nil
					}
					w.signal(a, unix.SIGKILL)
					<-a.done // and reaped: from here on, its number may be another's
					if !c.took {
						return nil, errors.New("nobody is there")
					}
					return source, nil
				},
			})
			if !c.dies {
				if err == nil || !strings.Contains(err.Error(), "neither a Source nor an error") {
					t.Errorf("Join with a Rescue that took nothing: %v", err)
				}
				if !a.alive() {
					t.Error("the incumbent was killed")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if n := g.Status().Generation; n != 1 {
				t.Errorf("generation %d", n)
			}
			if _, err := g.Listen(ctx, "tcp", w.addr); err != nil {
				t.Error(err)
			}
			if want := []handoff.Phase{handoff.PhaseStopped}; c.took && !slices.Equal(source.phases, want) || source.opened != 0 {
				t.Errorf("the source was asked %d times, and told %v", source.opened, source.phases)
			}
		})
	}
}

// TestRescueForeign: what listens at the rendezvous and says nothing, but is no incumbent of segue, is left alone. Here it
// is this process, which could not kill itself, so it counts that it is not even tried.
func TestRescueForeign(t *testing.T) {
	ours := func(t *testing.T, ln *net.UnixListener) {
		raw, err := ln.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(n uintptr) {
			if err := unix.SetsockoptInt(int(n), unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name     string
		ours     bool
		lock     func(name string) error
		says     string
		attempts int
	}{
		{"another program", false, func(name string) error { return os.WriteFile(name, nil, 0o600) }, "is not known for an incumbent of segue", 0},
		{"no lock", true, nil, "the lock of the rendezvous", 0},
		{"a link for a lock", true, func(name string) error { return os.Symlink("/dev/null", name) }, "the lock of the rendezvous", 0},
		{"a lock that is none", true, func(name string) error { return unix.Mkfifo(name, 0o600) }, "is no lock of", 0},
		{"a perfect copy", true, func(name string) error { return os.WriteFile(name, nil, 0o600) }, "taken", 1},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			dir, err := os.MkdirTemp("", "segue")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			path := filepath.Join(dir, "s")
			ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			if c.ours {
				ours(t, ln)
			}
			if c.lock != nil {
				if err := c.lock(path + ".lock"); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			attempts := 0
			g, err := handoff.Join(ctx, handoff.Config{
				Path: path, StepTimeout: 50 * time.Millisecond,
				Rescue: func(context.Context, handoff.Peer) (handoff.Source, error) {
					attempts++
					return nil, errors.New("taken")
				},
			})
			if err == nil {
				_ = g.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.says) || attempts != c.attempts {
				t.Errorf("Rescue was called %d times, Join: %v", attempts, err)
			}
		})
	}
}

// TestRescuers: several come to the rescue at once. One becomes the first of a new chain, the others its successors, or
// hear that another is at work; nobody fails for that, and no client is lost.
func TestRescuers(t *testing.T) {
	for name, n := range map[string]int{"two": 2, "four": 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "tcp")
			w.conf.StepTimeout, w.conf.Rescue = 500*time.Millisecond, "on"
			path := filepath.Join(w.dir, "clients")
			w.conf.Listen = append(w.conf.Listen, "unix/"+path)
			a := w.serving("tcp")
			w.signal(a, unix.SIGSTOP)
			w.stopped(a)
			vs := come(t, w.addr, 3)
			mark := w.mark()
			var rescuers []*proc
			for range n {
				rescuers = append(rescuers, w.start("tcp"))
			}
			var turn []int
			for _, p := range rescuers {
				e := w.wait(mark, p.pid, "join", "")
				switch {
				case e.Err == "":
					if e := w.wait(mark, p.pid, "ready", ""); e.Err != "" {
						t.Errorf("Ready of pid %d: %s", p.pid, e.Err)
					}
					turn = append(turn, p.pid)
				case !strings.Contains(e.Is, "busy"):
					t.Errorf("Join of pid %d: %q, errors.Is says %q", p.pid, e.Err, e.Is)
				}
			}
			w.ended(a)
			if s := a.state.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
				t.Errorf("the incumbent ended with %v", a.state)
			}
			if len(turn) == 0 {
				t.Fatal("nobody owns")
			}
			alive := func() (all []*proc) {
				for _, p := range rescuers {
					if p.alive() {
						all = append(all, p)
					}
				}
				return all
			}
			until(t, "one is left, and the others have drained", func() bool { return len(alive()) == 1 })
			left := alive()
			vs.answered(t, left[0].pid)
			all := vs.leave()
			for _, pid := range owners(all, turn[0]) {
				if !slices.Contains(turn, pid) {
					t.Errorf("pid %d owned, but it did not become ready", pid)
				}
			}
			for _, v := range lost(all) {
				t.Errorf("lost: %v", v)
			}
			soleOwner(t, w.addr, left[0].pid)
			w.conf.Rescue = ""
			w.goOnAndEnd(left[0], path)
		})
	}
}
