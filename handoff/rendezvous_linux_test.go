package handoff_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/segue-go/segue/handoff"
)

// TestRendezvousMode: only its user can call at the rendezvous, from its first instant, whatever the umask.
func TestRendezvousMode(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := rendezvous(t)
	seen := make(chan os.FileMode, 1)
	stop := make(chan struct{})
	go func() { // it appears under the eyes of somebody who looks all the time
		for {
			if info, err := os.Lstat(path); err == nil {
				seen <- info.Mode()
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	defer close(stop)
	g := join(t, config(t, path))
	if mode := result(t, "the rendezvous", seen); mode != os.ModeSocket|0o600 {
		t.Errorf("at first it has mode %v", mode)
	}
	for _, p := range []string{path, path + ".lock"} {
		if info, err := os.Lstat(p); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}
	ready(t, g)
}

// TestRendezvousPath: what cannot be a rendezvous is refused with a reason.
func TestRendezvousPath(t *testing.T) {
	dir := filepath.Dir(rendezvous(t))
	_, err := handoff.Join(bounded(t), config(t, filepath.Join(dir, strings.Repeat("x", 108))))
	if err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("a path that is too long: %v", err)
	}
	_, err = handoff.Join(bounded(t), config(t, filepath.Join(dir, "missing", "s")))
	wantErr(t, "a directory that is missing", err, os.ErrNotExist)
	inside := filepath.Join(dir, "directory") // the lock is beside it, and so in dir
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = handoff.Join(bounded(t), config(t, inside))
	if err == nil {
		t.Error("a directory was taken for a rendezvous")
	}
	// The lock must not be led astray.
	path := filepath.Join(dir, "s")
	victim := filepath.Join(dir, "victim")
	if err := os.Symlink(victim, path+".lock"); err != nil {
		t.Fatal(err)
	}
	_, err = handoff.Join(bounded(t), config(t, path))
	wantErr(t, "a lock that is a symbolic link", err, syscall.ELOOP)
	if _, err := os.Lstat(victim); !os.IsNotExist(err) {
		t.Errorf("the link was followed: %v", err)
	}
}

// TestTwoFirstStarts: two that start at once, on a path that is new or stale, end as one incumbent and one successor.
func TestTwoFirstStarts(t *testing.T) {
	path := rendezvous(t)
	c := config(t, path)
	for round := range 40 {
		if round%2 == 1 {
			staleSocket(t, "unixpacket", path)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		start := make(chan struct{})
		generations := make(chan *handoff.Generation, 2)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				<-start
				g, err := handoff.Join(ctx, c)
				if err != nil {
					t.Errorf("Join: %v", err)
					return
				}
				generations <- g
				l, err := g.Listen(ctx, "unix", path+".web")
				if err != nil {
					t.Errorf("Listen: %v", err)
					return
				}
				if err := g.Ready(ctx); err != nil {
					t.Errorf("Ready of %d: %v", g.Status().Generation, err)
				}
				_ = l
			})
		}
		close(start)
		within(t, "the start", wg.Wait)
		close(generations)
		var all []*handoff.Generation
		for g := range generations {
			all = append(all, g)
		}
		if len(all) == 2 {
			one, two := all[0], all[1]
			if one.Status().Generation == 2 {
				one, two = two, one
			}
			if one.Status().Generation != 1 || two.Status().Generation != 2 {
				t.Errorf("generations %d and %d", one.Status().Generation, two.Status().Generation)
			}
			superseded(t, one)
			if p := two.Status().Phase; p != handoff.PhaseServing {
				t.Errorf("the second is %s", p)
			}
			if err := one.Wait(ctx, nil); err != nil {
				t.Errorf("Wait: %v", err)
			}
		}
		for _, g := range all {
			shut(t, g)
		}
		cancel()
		if t.Failed() {
			return
		}
	}
}
