package spares

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// TestSpares: with all descriptors taken, what a handover opens still can be; and only as much as is kept for it.
func TestSpares(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 200, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}()
	alone := 0
	p := Pool{Alone: func(f func()) { alone++; f() }}
	p.Fill(0)
	defer p.Close()
	if n := len(p.fds); n != handover {
		t.Fatalf("%d spares", n)
	}
	taken := probe(200)
	defer func() { closeAll(taken) }()
	if _, err := os.Open(os.DevNull); !errors.Is(err, unix.EMFILE) {
		t.Fatalf("there are descriptors left: %v", err)
	}
	var opened []*listener.FD
	open := func(n, keep int) error {
		return p.Do(n, keep, func() error {
			got := probe(n)
			if len(got) < n {
				closeAll(got)
				return unix.EMFILE
			}
			opened = append(opened, got...)
			return nil
		})
	}
	if err := open(Spawn, 1); err != nil {
		t.Fatal(err)
	}
	if alone != 1 {
		t.Errorf("others could take the descriptors: alone %d times", alone)
	}
	if n := len(p.fds); n != handover-Spawn {
		t.Errorf("%d spares are left", n)
	}
	if err := open(3, Caller); !errors.Is(err, unix.EMFILE) {
		t.Errorf("what is kept for others was taken: %v", err)
	}
	if err := open(3, 1); err != nil {
		t.Error(err)
	}
	closeAll(opened)
	if err := open(1, 1); err != nil { // which fills them again
		t.Error(err)
	}
	closeAll(opened[len(opened)-1:])
	p.Fill(0)
	if n := len(p.fds); n != handover {
		t.Errorf("%d spares when there are descriptors again", n)
	}
	// A quarter of the limit at most.
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 40, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	if p.Fill(0); p.want != 10 {
		t.Errorf("%d are wanted of 40", p.want)
	}
}
