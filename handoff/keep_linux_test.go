package handoff_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
)

// sweeps are the ways in which a rendezvous gets lost without its owner.
var sweeps = map[string]func(t *testing.T, path string){
	"socket":  func(t *testing.T, path string) { remove(t, path) },
	"both":    func(t *testing.T, path string) { remove(t, path, path+".lock") },
	"lock":    func(t *testing.T, path string) { remove(t, path+".lock") },
	"renamed": func(t *testing.T, path string) { must(t, os.Rename(path, path+".old")) },
	"directory": func(t *testing.T, path string) {
		must(t, os.RemoveAll(filepath.Dir(path)))
		must(t, os.Mkdir(filepath.Dir(path), 0o700))
	},
	"replaced by a dead socket": func(t *testing.T, path string) {
		remove(t, path)
		staleSocket(t, "unixpacket", path)
	},
}

func remove(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		must(t, os.Remove(p))
	}
}

// failing is a config whose Upgrade fails before anything has begun.
func failing(t *testing.T, path string) handoff.Config {
	c := config(t, path)
	c.Command = func() *exec.Cmd { return exec.Command("/nonexistent/segue-test") }
	return c
}

// TestSweptRendezvous: an incumbent whose rendezvous was removed can be joined again after the next attempt, whatever became
// of it. Who comes before is told why the address is in use.
func TestSweptRendezvous(t *testing.T) {
	for name, sweep := range sweeps {
		t.Run(name, func(t *testing.T) {
			path := rendezvous(t)
			a, la := first(t, failing(t, path))
			before := descriptors(t)
			sweep(t, path)
			if name != "lock" {
				lost := join(t, config(t, path)) // takes itself for the first
				_, err := lost.Listen(bounded(t), "tcp", la.Addr().String())
				wantErr(t, "Listen", err, syscall.EADDRINUSE)
				if !strings.Contains(err.Error(), "whose rendezvous was removed") {
					t.Errorf("Listen: %v", err)
				}
				shut(t, lost)
			}
			wantErr(t, "Upgrade", a.Upgrade(bounded(t)), os.ErrNotExist)
			for _, p := range []string{path, path + ".lock"} {
				if info, err := os.Lstat(p); err != nil || info.Mode().Perm() != 0o600 {
					t.Fatalf("%v, %v", info, err)
				}
			}
			b := join(t, config(t, path))
			lb := listen(t, b, "tcp", "127.0.0.1:0")
			supersede(t, a, b)
			serves(t, lb)
			shut(t, a)
			shut(t, b)
			for _, p := range []string{path, path + ".lock"} {
				if _, err := os.Lstat(p); !os.IsNotExist(err) {
					t.Errorf("%s was left behind: %v", p, err)
				}
			}
			eventually(t, "descriptors as before", func() bool { return descriptors(t) <= before })
		})
	}
}

// TestSweptWhilePreparing: a successor whose rendezvous went while it prepared itself binds it when it owns.
func TestSweptWhilePreparing(t *testing.T) {
	path := rendezvous(t)
	a, _ := first(t, config(t, path))
	b := join(t, config(t, path))
	listen(t, b, "tcp", "127.0.0.1:0")
	remove(t, path, path+".lock")
	supersede(t, a, b)
	c := join(t, config(t, path))
	l := listen(t, c, "tcp", "127.0.0.1:0")
	supersede(t, b, c)
	serves(t, l)
}

// TestSweptBeforeRevival: the rendezvous that a successor bound goes with it, and the revived binds it again.
func TestSweptBeforeRevival(t *testing.T) {
	for _, way := range []string{"fails", "check"} {
		t.Run(way, func(t *testing.T) {
			path := rendezvous(t)
			ca := config(t, path)
			ca.Guard = time.Minute
			log := logs(t, &ca)
			a, la := first(t, ca)
			cb := config(t, path)
			if way == "check" {
				cb.Probation = time.Millisecond
				cb.Check = func(context.Context) error { return errUnwell }
			}
			b := join(t, cb)
			listen(t, b, "tcp", "127.0.0.1:0")
			remove(t, path)
			ready(t, b)
			if way == "fails" {
				superseded(t, a)
				must(t, b.Fail(errUnwell))
			}
			awaitPhase(t, a, handoff.PhaseServing)
			shut(t, b)
			serves(t, la)
			log.says(t, "it is bound again")
			eventually(t, "the end of the attempt", func() bool { return a.Status().Successor == 0 })
			if n := join(t, config(t, path)).Status().Generation; n != 2 {
				t.Errorf("it is generation %d", n)
			}
		})
	}
}

// TestForeignRendezvousStays: what somebody else has put in the place is left alone, and Upgrade works without a path.
func TestForeignRendezvousStays(t *testing.T) {
	path := rendezvous(t)
	c := failing(t, path)
	log := logs(t, &c)
	a, la := first(t, c)
	remove(t, path)
	other, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	_ = a.Upgrade(bounded(t))
	log.says(t, "cannot be bound again")
	if _, err := net.Dial("unix", path); err != nil {
		t.Errorf("the other one was removed: %v", err)
	}
	other.SetUnlinkOnClose(true)
	_ = other.Close()
	must(t, os.WriteFile(path, []byte("a file"), 0o600))
	_ = a.Upgrade(bounded(t))
	log.says(t, "is in the way and is no socket")
	if b, err := os.ReadFile(path); err != nil || string(b) != "a file" {
		t.Errorf("the file: %q, %v", b, err)
	}
	remove(t, path)
	must(t, os.RemoveAll(filepath.Dir(path)))
	_ = a.Upgrade(bounded(t))
	serves(t, la)
	must(t, os.Mkdir(filepath.Dir(path), 0o700))
	_ = a.Upgrade(bounded(t))
	log.says(t, "it is bound again")
	supersede(t, a, join(t, config(t, path)))
}

// TestLocksLeft: a Join that fails, and a generation that leaves nobody behind, leave no lock behind either.
func TestLocksLeft(t *testing.T) {
	path := rendezvous(t)
	must(t, os.WriteFile(path, nil, 0o600))
	if _, err := handoff.Join(bounded(t), config(t, path)); err == nil {
		t.Fatal("a file was taken for a rendezvous")
	}
	gone := func(what string) {
		t.Helper()
		if _, err := os.Lstat(path + ".lock"); !os.IsNotExist(err) {
			t.Errorf("%s left its lock: %v", what, err)
		}
	}
	gone("a Join that fails")
	remove(t, path)
	shut(t, join(t, config(t, path)))
	gone("a generation that never was ready")
	a, _ := first(t, config(t, path))
	b := join(t, config(t, path))
	shut(t, b)
	if _, err := os.Lstat(path + ".lock"); err != nil {
		t.Errorf("a successor that gives up removed the lock of its incumbent: %v", err)
	}
	shut(t, a)
	gone("the last generation")
}
