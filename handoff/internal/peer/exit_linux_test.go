package peer

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/internal/kernel"
	"golang.org/x/sys/unix"
)

var ends = []struct {
	tell string
	want Exit
	wish bool
}{
	{"exit 0", Exit{}, true},
	{"exit 3", Exit{Code: 3}, false},
	{"exit 143", Exit{Code: 143}, false},
	{fmt.Sprintf("signal %d", unix.SIGTERM), Exit{Signal: syscall.SIGTERM}, true},
	{fmt.Sprintf("signal %d", unix.SIGINT), Exit{Signal: syscall.SIGINT}, true},
	{fmt.Sprintf("signal %d", unix.SIGKILL), Exit{Signal: syscall.SIGKILL}, false},
}

func wantExit(t *testing.T, when string, p *Peer, want Exit, wish bool) {
	t.Helper()
	e, ok := p.Exit()
	if !ok || e != want || e.Wish() != wish {
		t.Errorf("%s: got %v, %v, wish %v; want %v, wish %v", when, e, ok, e.Wish(), want, wish)
	}
}

// wantUnknown checks that neither Exit nor WaitExit know anything.
func wantUnknown(t *testing.T, when string, p *Peer) {
	t.Helper()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if e, ok := p.Exit(); ok {
		t.Errorf("%s: got %v", when, e)
	}
	if e, ok := p.WaitExit(ended); ok {
		t.Errorf("%s: WaitExit: got %v", when, e)
	}
}

// Of our own child the status is known at once, and nobody needs to reap it, nor is kept from that.
func TestExitOfChild(t *testing.T) {
	for _, end := range ends {
		t.Run(end.tell, func(t *testing.T) {
			child := start(t, roleSpeaker, nil)
			byMessage := child.peer(t)
			byFork, err := FromPidFD(child.pidfd, child.cmd.Process.Pid, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer byFork.Close()
			peers := []*Peer{byMessage, byFork}
			for _, p := range peers {
				wantUnknown(t, "alive", p)
				if p.Dead() {
					t.Error("it lives, and is called dead")
				}
			}
			child.tell(t, end.tell)
			for _, p := range peers {
				waitDone(t, p)
				if !p.Dead() {
					t.Error("Done is closed, and it is not dead")
				}
				wantExit(t, "zombie", p, end.want, end.wish)
			}
			_ = child.cmd.Wait() // the status; compared below
			status := child.cmd.ProcessState.Sys().(syscall.WaitStatus)
			if got := exitOf(uint32(status)); got != end.want {
				t.Errorf("os/exec says %v, want %v", got, end.want)
			}
			var info Exit
			control(t, byMessage.fd, func(n int) {
				if e := exitOfReaped(n); e != nil {
					info = *e
				} else if kernelTellsExit(t) {
					t.Error("the kernel has forgotten it")
				} else {
					info = end.want
				}
			})
			if info != end.want {
				t.Errorf("the kernel says %v, want %v", info, end.want)
			}
			for _, p := range peers {
				wantExit(t, "reaped", p, end.want, end.wish)
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				wantExit(t, "closed", p, end.want, end.wish)
				if !p.Dead() {
					t.Error("closed, and it is not dead any more")
				}
			}
		})
	}
}

// Of another's child the status is known when its parent has reaped it, and not before.
func TestExitOfStranger(t *testing.T) {
	for _, end := range ends {
		t.Run(end.tell, func(t *testing.T) {
			middle := start(t, roleParent, nil)
			p := middle.peer(t)
			if p.PID == middle.cmd.Process.Pid {
				t.Fatal("that is our own child")
			}
			wantUnknown(t, "alive", p)
			middle.tell(t, end.tell)
			waitDone(t, p)
			if !p.Dead() {
				t.Error("Done is closed, and it is not dead")
			}
			wantUnknown(t, "zombie", p)
			middle.tell(t, "reap")
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			kernel.Need(t, kernel.InfoExit)
			if e, ok := p.WaitExit(ctx); !ok || e != end.want {
				t.Errorf("reaped: got %v, %v; want %v", e, ok, end.want)
			}
			wantExit(t, "reaped", p, end.want, end.wish)
		})
	}
}

// WaitExit returns when Close comes, and Close does not wait for the zombie.
func TestCloseEndsWaitExit(t *testing.T) {
	middle := start(t, roleParent, nil)
	p := middle.peer(t)
	middle.tell(t, "exit 3")
	waitDone(t, p)
	got := make(chan bool, 1)
	go func() {
		_, ok := p.WaitExit(context.Background())
		got <- ok
	}()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	select {
	case ok := <-got:
		if ok {
			t.Error("the status is known; of a zombie?")
		}
	case <-time.After(patience):
		t.Error("WaitExit still waits")
	}
}

func control(t *testing.T, c interface{ Control(func(uintptr)) error }, fn func(n int)) {
	t.Helper()
	if err := c.Control(func(n uintptr) { fn(int(n)) }); err != nil {
		t.Fatal(err)
	}
}

var tellsExit struct {
	asked, answer bool
}

// kernelTellsExit asks the kernel whether it has PIDFD_INFO_EXIT at all, by means of a process of its own.
func kernelTellsExit(t *testing.T) bool {
	t.Helper()
	if tellsExit.asked {
		return tellsExit.answer
	}
	probe := start(t, roleSpeaker, nil)
	probe.tell(t, "exit 5")
	_ = probe.cmd.Wait() // its status is known
	control(t, probe.pidfd, func(n int) { tellsExit.answer = exitOfReaped(n) != nil })
	tellsExit.asked = true
	return tellsExit.answer
}
