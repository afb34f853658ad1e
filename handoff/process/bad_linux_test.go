package process_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/process"
)

// TestGone asks for what is no process any more, or none at all.
func TestGone(t *testing.T) {
	if _, err := process.Open(0); err == nil {
		t.Error("opened process 0")
	}
	c := play(t, nil, "exit")
	_ = c.wait()
	if _, err := process.Open(c.pid()); !errors.Is(err, process.ErrGone) {
		t.Errorf("opened one that has ended: %v", err)
	}
	src := process.Sockets(c.pid(), process.Options{})
	if _, err := src.Open(t.Context(), "", "tcp", ":80"); !errors.Is(err, process.ErrGone) {
		t.Errorf("took from one that has ended: %v", err)
	}
	must(t, src.Close())
	src = process.Sockets(c.pid(), process.Options{MayBeGone: true})
	if fd, err := src.Open(t.Context(), "", "tcp", ":80"); fd != nil || err != nil {
		t.Errorf("took from one that may be gone: %v, %v", fd, err)
	}
	must(t, src.Close())

	// A thread is none either.
	ready, end := make(chan int), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		ready <- unix.Gettid()
		<-end
	}()
	tid := <-ready
	defer close(end)
	if tid != os.Getpid() {
		if _, err := process.Open(tid); err == nil || errors.Is(err, process.ErrGone) {
			t.Errorf("opened a thread: %v", err)
		}
	}

	p, err := process.Open(os.Getpid())
	must(t, err)
	must(t, p.Close())
	must(t, p.Close())
	if _, err := p.List(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("looked after Close: %v", err)
	}
}

// TestZombie lets a process end between each of the steps, without being waited for.
func TestZombie(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "tcp/127.0.0.1:0")
	cmd.Env = append(os.Environ(), envRole+"=hold")
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	defer in.Close()
	buf := make([]byte, 100)
	n, err := out.Read(buf)
	must(t, err)
	addr := strings.TrimSpace(strings.TrimPrefix(string(buf[:n]), "holds "))
	p, err := process.Open(cmd.Process.Pid)
	must(t, err)
	defer p.Close()
	all, err := p.List(bounded(t))
	must(t, err)
	if len(all) != 1 {
		t.Fatalf("found %v", all)
	}
	src := process.Sockets(cmd.Process.Pid, process.Options{})
	defer src.Close()
	must(t, cmd.Process.Kill())
	for deadline := time.Now().Add(patience); p.Alive() == nil; {
		if time.Now().After(deadline) {
			t.Fatal("it does not die")
		}
		time.Sleep(time.Millisecond) // polling
	}
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, process.ErrGone) || !strings.Contains(err.Error(), "it is a zombie") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = p.Take(all[0])
	check("take", err)
	_, err = p.List(bounded(t))
	check("list", err)
	_, err = src.Open(bounded(t), "", "tcp", addr)
	check("source", err)
	check("alive", p.Alive())
	if late, err := process.Open(cmd.Process.Pid); err == nil { // a zombie can be opened, since it exists
		_, err = late.List(bounded(t))
		check("list, opened late", err)
		_ = late.Close()
	} else {
		check("open", err)
	}
	// SIGTERM to a zombie is not an error of kill(2).
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, process.ErrGone) {
		t.Error(err)
	}
}

// TestReused lets another process have the number, between the look and the taking.
func TestReused(t *testing.T) {
	needRoot(t)
	old := play(t, nil, "hold", "tcp/127.0.0.1:0")
	addr := old.line("holds ")
	p, err := process.Open(old.pid())
	must(t, err)
	defer p.Close()
	all, err := p.List(bounded(t))
	must(t, err)
	src := process.Sockets(old.pid(), process.Options{Signal: syscall.SIGKILL})
	defer src.Close()
	must(t, old.in.Close())
	must(t, old.wait())
	next := reuse(t, old.pid(), addr)
	if _, err := p.Take(all[0]); !errors.Is(err, process.ErrGone) {
		t.Errorf("take: %v", err)
	}
	if _, err := p.List(bounded(t)); !errors.Is(err, process.ErrGone) {
		t.Errorf("list: %v", err)
	}
	if _, err := src.Open(bounded(t), "", "tcp", addr); !errors.Is(err, process.ErrGone) {
		t.Errorf("source: %v", err)
	}
	if err := p.Signal(syscall.SIGKILL); !errors.Is(err, process.ErrGone) {
		t.Errorf("signal: %v", err)
	}
	if err := p.SignalIdle(bounded(t), syscall.SIGKILL, all...); !errors.Is(err, process.ErrGone) {
		t.Errorf("signal when idle: %v", err)
	}
	select {
	case <-next.done:
		t.Error("the other process ended")
	default:
	}
}

// reuse starts a process that holds addr and has a number that somebody had before.
func reuse(t *testing.T, pid int, addr string) *child {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		// pid_namespaces(7): the next process gets the number after this one. Others start processes too.
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			skip(t, fmt.Sprint("cannot choose the number of a process: ", err))
		}
		c := play(t, nil, "hold", "tcp/"+addr)
		c.line("holds ")
		if c.pid() == pid {
			return c
		}
		_ = c.in.Close()
		_ = c.wait()
	}
	t.Fatal("the number is not given again")
	return nil
}

// TestRefused looks at another user's process, and wants to know what to do.
func TestRefused(t *testing.T) {
	needRoot(t)
	old := play(t, nil, "hold", "tcp/127.0.0.1:0")
	addr := old.line("holds ")
	c := play(t, ordinary, "refuse", strconv.Itoa(old.pid()), addr)
	for _, op := range []string{"list", "open"} {
		msg := c.line(op + ": ")
		for _, part := range []string{fmt.Sprintf("process %d", old.pid()), "refused", "it runs as another user",
			"run both as the same user", "CAP_SYS_PTRACE"} {
			if !strings.Contains(msg, part) {
				t.Errorf("%s says nothing of %q: %s", op, part, msg)
			}
		}
		if op == "list" {
			if msg := c.line("signal: "); !strings.Contains(msg, "only its user and root") {
				t.Errorf("signal says %s", msg)
			}
		}
	}
	if msg := c.line("all: "); msg != "<nil>" {
		t.Errorf("all says %s", msg)
	}
	if n, err := strconv.Atoi(c.line("refused: ")); err != nil || n == 0 {
		t.Errorf("all was refused %d processes, %v", n, err)
	}
	must(t, c.wait())
}
