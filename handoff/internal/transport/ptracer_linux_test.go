package transport

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

// told is what a kernel with Yama would have been told, in order.
type told struct {
	sync.Mutex
	pids []int
}

func (k *told) set(pid int) error {
	k.Lock()
	defer k.Unlock()
	k.pids = append(k.pids, pid)
	return nil
}

func (k *told) want(t *testing.T, when string, pids ...int) {
	t.Helper()
	k.Lock()
	defer k.Unlock()
	if !slices.Equal(k.pids, pids) {
		t.Errorf("%s: allowed to %v, want %v", when, k.pids, pids)
	}
}

func yama() (*ptracer, *told) {
	k := &told{}
	return &ptracer{turn: make(chan struct{}, 1), set: k.set}, k
}

// somebody is a process that could be a successor.
func somebody(t *testing.T) *peer.Peer {
	t.Helper()
	pidfd := -1
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &pidfd, Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait() // some are killed
	})
	fd := listener.NewFD(pidfd)
	p, err := peer.FromPidFD(fd, cmd.Process.Pid, 0, 0)
	if err != nil {
		_ = fd.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// TestPtracerTurns: what one handover has allowed stands until it withdraws it, whoever else wants to allow something.
func TestPtracerTurns(t *testing.T) {
	y, kernel := yama()
	one, two := somebody(t), somebody(t)
	withdraw, err := y.allow(t.Context(), one, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	nothing, err := y.allow(t.Context(), two, time.Nanosecond)
	if !errors.Is(err, errNotAllowed) {
		t.Errorf("out of turn: %v", err)
	}
	nothing()
	why := errors.New("the handover is ended")
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := y.allow(ended, two, time.Minute); !errors.Is(err, why) {
		t.Errorf("with a context that has ended: %v", err)
	}
	kernel.want(t, "out of turn", one.PID)

	next := make(chan func())
	go func() {
		withdraw, err := y.allow(t.Context(), two, time.Minute)
		if err != nil {
			t.Error(err)
		}
		next <- withdraw
	}()
	withdraw()
	withdraw = <-next
	kernel.want(t, "in turn", one.PID, 0, two.PID)
	withdraw()
	kernel.want(t, "at the end", one.PID, 0, two.PID, 0)
}

// TestPtracerDead: a process that has died may have left its number to another, which is allowed nothing.
func TestPtracerDead(t *testing.T) {
	y, kernel := yama()
	p := somebody(t)
	y.set = func(pid int) error { // it dies, and its number is another's
		if pid != 0 {
			if err := p.Kill(); err != nil {
				t.Error(err)
			}
			<-p.Done()
		}
		return kernel.set(pid)
	}
	withdraw, err := y.allow(t.Context(), p, time.Minute)
	if !errors.Is(err, peer.ErrDied) {
		t.Errorf("got %v, want ErrPeerDied", err)
	}
	kernel.want(t, "dead", p.PID, 0)
	withdraw()
	kernel.want(t, "withdrawn once", p.PID, 0)
	next := somebody(t)
	if withdraw, err = y.allow(t.Context(), next, time.Minute); err != nil {
		t.Fatal(err)
	}
	withdraw()
}

// TestPtracerWithoutYama: where the kernel knows no PR_SET_PTRACER nobody waits for anybody.
func TestPtracerWithoutYama(t *testing.T) {
	y := &ptracer{turn: make(chan struct{}, 1), set: func(int) error { return unix.EINVAL }}
	p := somebody(t)
	for range 2 {
		if _, err := y.allow(t.Context(), p, time.Minute); err != nil {
			t.Error(err)
		}
	}
}
