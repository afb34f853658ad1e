package handoff

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
	g := &Generation{}
	g.fillSpares()
	defer g.spares.close()
	if n := len(g.spares.fds); n != spareDescriptors {
		t.Fatalf("%d spares", n)
	}
	taken := probe(200)
	defer func() { closeAll(taken) }()
	if _, err := os.Open(os.DevNull); !errors.Is(err, unix.EMFILE) {
		t.Fatalf("there are descriptors left: %v", err)
	}
	var opened []*listener.FD
	open := func(n, keep int) error {
		return g.spares.do(g, n, keep, func() error {
			got := probe(n)
			if len(got) < n {
				closeAll(got)
				return unix.EMFILE
			}
			opened = append(opened, got...)
			return nil
		})
	}
	if err := open(spawnDescriptors, 1); err != nil {
		t.Fatal(err)
	}
	if n := len(g.spares.fds); n != spareDescriptors-spawnDescriptors {
		t.Errorf("%d spares are left", n)
	}
	if err := open(3, callerDescriptors); !errors.Is(err, unix.EMFILE) {
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
	g.fillSpares()
	if n := len(g.spares.fds); n != spareDescriptors {
		t.Errorf("%d spares when there are descriptors again", n)
	}
	// A quarter of the limit at most.
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 40, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	if g.fillSpares(); g.spares.want != 10 {
		t.Errorf("%d are wanted of 40", g.spares.want)
	}
}
