package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/process"
)

// roleHeadless listens, and then ends its main thread: to others, it looks as a process does that is ending, for as long as
// its other threads live. It does not end by itself.
func roleHeadless(args []string) int {
	ln, err := net.Listen("tcp", args[0])
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer ln.Close()
	fmt.Println("holds", ln.Addr())
	_, _ = os.Stdin.Read(make([]byte, 1))
	for range 100 { // at a time, so that one of them gets the main thread
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if unix.Gettid() == os.Getpid() {
				_, _, _ = syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0)
			}
			select {}
		}()
	}
	select {} // until it is killed
}

// TestEnding wants no list without sockets of a process that is about to be gone, but an error.
func TestEnding(t *testing.T) {
	c := play(t, nil, "headless", "127.0.0.1:0")
	addr := c.line("holds ")
	p, err := process.Open(c.pid())
	must(t, err)
	defer p.Close()
	all, err := p.List(bounded(t))
	must(t, err)
	if len(all) != 1 {
		t.Fatalf("found %v", all)
	}
	_, err = io.WriteString(c.in, "x")
	must(t, err)
	for deadline := time.Now().Add(patience); ; {
		names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.pid()))
		must(t, err)
		if len(names) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("its main thread does not end")
		}
		time.Sleep(time.Millisecond) // polling
	}
	if all, err := p.List(bounded(t)); !errors.Is(err, process.ErrGone) {
		t.Errorf("listed %v, %v", all, err)
	}
	if _, err := p.Take(all[0]); !errors.Is(err, process.ErrGone) {
		t.Errorf("took: %v", err)
	}
	if _, err := process.Rescue(bounded(t), handoff.Peer{PID: c.pid()}); !errors.Is(err, process.ErrGone) {
		t.Errorf("rescued: %v", err)
	}
	src := process.Sockets(c.pid(), process.Options{})
	defer src.Close()
	if _, err := src.Open(bounded(t), "", "tcp", addr); !errors.Is(err, process.ErrGone) {
		t.Errorf("source: %v", err)
	}
}

// rolePrefork listens at its first argument in a group with a child, that has the other arguments.
func rolePrefork(args []string) int {
	lc := net.ListenConfig{Control: reusePort}
	ln, err := lc.Listen(context.Background(), "tcp", args[0])
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer ln.Close()
	fmt.Println("listens", ln.Addr())
	cmd := exec.Command("/proc/self/exe", append(args[1:], "reuseport:1:tcp/"+ln.Addr().String())...)
	cmd.Env = append(os.Environ(), envRole+"=hold")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// TestUndumpable does not tell a process to end that has a worker which cannot be looked at: its socket would be lost.
func TestUndumpable(t *testing.T) {
	needRoot(t)
	old := play(t, ordinary, "prefork", "127.0.0.1:0", "undumpable")
	addr := old.line("listens ")
	old.line("holds ")
	next := server(t, ordinary, settings{PID: old.pid(), Listen: []string{"tcp/" + addr}, Signal: syscall.SIGKILL})
	next.line("serving")
	for {
		why := next.line("time=")
		if strings.Contains(why, "told the process") {
			t.Fatalf("the process was told: %s", why)
		}
		if strings.Contains(why, "was not told") {
			if !strings.Contains(why, "1 of its descendants could not be looked at") || !strings.Contains(why, "not dumpable") {
				t.Errorf("logged %s", why)
			}
			return
		}
	}
}

// TestListNoDescriptors wants all sockets, or an error that says why not.
func TestListNoDescriptors(t *testing.T) {
	const sockets = 5
	old := play(t, nil, "master", fmt.Sprintf("reuseport:%d:tcp/127.0.0.1:0", sockets), "unix/@"+t.Name(), "unixgram/@"+t.Name())
	for range sockets + 2 {
		old.line("holds ")
	}
	failed := 0
	for _, spare := range []int{0, 1, 2, 3, 4, 5, 6, 30} {
		p, err := process.Open(old.pid())
		must(t, err)
		restore := limitFiles(t, spare)
		all, err := p.List(bounded(t))
		restore()
		must(t, p.Close())
		switch {
		case err == nil && len(all) != sockets+2:
			t.Errorf("with %d descriptors to spare, found %v", spare, all)
		case err != nil && spare == 30:
			t.Error(err)
		case err != nil && !errors.Is(err, unix.EMFILE):
			t.Error(err)
		case err != nil:
			failed++
		}
	}
	if failed == 0 {
		t.Error("it never failed")
	}
}
