package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/internal/kernel"
	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

func pidfdOf(t *testing.T, pid int) *listener.FD {
	t.Helper()
	n, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := listener.NewFD(n)
	t.Cleanup(func() { fd.Close() })
	return fd
}

func TestFromMessage(t *testing.T) {
	child := start(t, roleSpeaker, nil)
	p := child.peer(t)
	if p.PID != child.cmd.Process.Pid || p.UID != uint32(os.Getuid()) || p.GID != uint32(os.Getgid()) || p.Self() {
		t.Errorf("got %v, gid %d, self %v; want process %d", p, p.GID, p.Self(), child.cmd.Process.Pid)
	}
	if !SameUser(p.UID) && p.UID != overflowUID() {
		t.Error("our child is not of our user")
	}
}

func TestFromMessageErrors(t *testing.T) {
	cred := &fdpass.Cred{PID: os.Getpid()}
	child := start(t, roleSpeaker, nil)
	notPidFD, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		m       *fdpass.Message
		wantErr error
	}{
		{"nil", nil, ErrNoCred},
		{"nothing", &fdpass.Message{}, ErrNoCred},
		{"no credentials", &fdpass.Message{PidFD: pidfdOf(t, os.Getpid())}, ErrNoCred},
		{"no pidfd", &fdpass.Message{Cred: cred}, ErrGone},
		{"not a pidfd", &fdpass.Message{Cred: cred, PidFD: listener.NewFD(notPidFD)}, ErrGone},
		{"another's pidfd", &fdpass.Message{Cred: cred, PidFD: child.pidfd}, ErrGone},
		{"closed", &fdpass.Message{Cred: cred, PidFD: listener.NewFD(-1)}, net.ErrClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "another's pidfd" {
				kernel.Need(t, kernel.GetInfo)
			}
			p, err := FromMessage(tt.m)
			if !errors.Is(err, tt.wantErr) || p != nil {
				t.Errorf("got %v, %v", p, err)
			}
			if tt.m != nil && tt.m.PidFD == nil && tt.name != "nothing" && tt.name != "no pidfd" {
				t.Error("the pidfd was taken")
			}
			tt.m.Close()
		})
	}
	if _, err := FromPidFD(nil, 1, 0, 0); !errors.Is(err, ErrGone) {
		t.Errorf("got %v", err)
	}
}

// The pidfd that os/exec waits with has the same file, and a pidfd that does not block would fail its Wait.
func TestFlagsUntouched(t *testing.T) {
	child := start(t, roleSpeaker, nil)
	get := func() (flags int) {
		control(t, child.pidfd, func(n int) {
			var err error
			if flags, err = unix.FcntlInt(uintptr(n), unix.F_GETFL, 0); err != nil {
				t.Fatal(err)
			}
		})
		return flags
	}
	before := get()
	p, err := FromPidFD(child.pidfd, child.cmd.Process.Pid, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if after := get(); after != before {
		t.Errorf("flags changed from %#x to %#x", before, after)
	}
	child.tell(t, "exit 0")
	if err := child.cmd.Wait(); err != nil {
		t.Error(err)
	}
	waitDone(t, p)
}

func TestSelf(t *testing.T) {
	p, err := FromPidFD(pidfdOf(t, os.Getpid()), os.Getpid(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.PID = 1 // whoever writes there does not get round it
	if !p.Self() || p.Dead() {
		t.Errorf("self %v, dead %v", p.Self(), p.Dead())
	}
	if err := p.Kill(); !errors.Is(err, ErrSelf) {
		t.Errorf("got %v", err)
	}
}

func TestKill(t *testing.T) {
	child := start(t, roleSpeaker, nil)
	p := child.peer(t)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	waitDone(t, p)
	wantExit(t, "killed", p, Exit{Signal: syscall.SIGKILL}, false)
	if err := p.Kill(); err != nil {
		t.Errorf("a zombie: %v", err)
	}
	_ = child.cmd.Wait()
	if err := p.Kill(); err != nil {
		t.Errorf("a process that is gone: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.Kill(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: got %v", err)
	}
}

// One who dies before anybody looks is dead from the beginning.
func TestDeadOnArrival(t *testing.T) {
	kernel.Need(t, kernel.Reaped)
	child := start(t, roleSpeaker, nil)
	child.tell(t, "exit 3")
	_ = child.cmd.Wait()
	p := child.peer(t)
	if !p.Dead() {
		t.Error("not dead")
	}
	waitDone(t, p)
	if kernelTellsExit(t) {
		wantExit(t, "on arrival", p, Exit{Code: 3}, false)
	}
}

func TestCloseOfLiving(t *testing.T) {
	child := start(t, roleSpeaker, nil)
	p := child.peer(t)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	select {
	case <-p.wait.end:
	default:
		t.Error("Close did not wait for the goroutine")
	}
	if p.Dead() {
		t.Error("dead by Close")
	}
	if _, ok := p.Exit(); ok {
		t.Error("ended by Close")
	}
	if _, ok := p.WaitExit(t.Context()); ok {
		t.Error("ended by Close")
	}
	select {
	case <-p.Done():
		t.Error("Done is closed by Close")
	default:
	}
	child.tell(t, "exit 0")
	if err := child.cmd.Wait(); err != nil {
		t.Errorf("it did not live on: %v", err)
	}
}

// A process in a PID namespace of its own cannot kill us, nor name us, and is told so.
func TestForeignPIDNamespace(t *testing.T) {
	kernel.Need(t, kernel.PassPidFD)
	child := startIn(t, roleListener, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID})
	if err := fdpass.Send(child.conn, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("pid 0 self false dead false kill peer: %v: process 0 is not in our PID namespace: %v\n", ErrForbidden, unix.EINVAL)
	if got, err := child.stdout.ReadString('\n'); got != want {
		t.Errorf("got  %q (%v)\nwant %q", got, err, want)
	}
	if err := child.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Nor can a process of another user.
func TestForeignUser(t *testing.T) {
	child := startIn(t, roleListener, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4711, Gid: 4711}})
	if err := fdpass.Send(child.conn, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("pid %d self false dead false kill peer: %v: process %d is of uid %d, or a security module forbids it: %v\n",
		os.Getpid(), ErrForbidden, os.Getpid(), os.Getuid(), unix.EPERM)
	if got, err := child.stdout.ReadString('\n'); got != want {
		t.Errorf("got  %q (%v)\nwant %q", got, err, want)
	}
	if err := child.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// startIn starts a process as attr says, which takes privileges.
func startIn(t *testing.T, role string, attr *syscall.SysProcAttr) *process {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a process that may not signal us")
	}
	return start(t, role, func(cmd *exec.Cmd) {
		attr.PidFD = cmd.SysProcAttr.PidFD
		cmd.SysProcAttr = attr
	})
}

// Await says that a process lives when its time is over, or its context ends; and that it is dead, even then.
func TestAwait(t *testing.T) {
	child := start(t, roleSpeaker, nil)
	p := child.peer(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if p.Await(t.Context(), time.Nanosecond) || p.Await(ended, patience) {
		t.Error("it lives, and is called dead")
	}
	child.tell(t, "exit 0")
	if !p.Await(t.Context(), patience) || !p.Await(ended, 0) {
		t.Error("it is dead, and is said to live")
	}
}
