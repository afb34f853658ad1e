package integration

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLoopAsPID1 runs the loop of docs/operations.md as process 1 of a PID namespace, and the server below it. Upgrades of
// both kinds leave process 1 alone and lose nobody, and SIGTERM ends everything.
func TestLoopAsPID1(t *testing.T) {
	needRoot(t, "to make a PID namespace")
	t.Parallel()
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	loop := regexp.MustCompile("(?s)```sh\n(#!/bin/sh\n# PID 1 .*?)```\n").FindSubmatch(page)
	if loop == nil {
		t.Fatal("docs/operations.md shows no loop")
	}
	w := newWorld(t, "tcp")
	script := filepath.Join(w.dir, "loop")
	if err := os.WriteFile(script, loop[1], 0o600); err != nil {
		t.Fatal(err)
	}
	n := enter(t, w, "sh", script)
	init := n.init
	await(t, "the server", func() bool { return call(w.addr).err == nil })
	vs := come(t, w.addr, 3)
	known := []int{vs.newcomer(t)}

	if err := unix.Kill(init, unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	known = append(known, vs.newcomer(t, known...))
	await(t, "one process, which serves", func() bool { return len(children(init)) == 1 })

	if err := unix.Kill(children(init)[0], unix.SIGHUP); err != nil { // it calls Upgrade
		t.Fatal(err)
	}
	known = append(known, vs.newcomer(t, known...)) // who was started by that
	known = append(known, vs.newcomer(t, known...)) // and by the loop

	all := vs.leave()
	for _, v := range lost(all) {
		t.Errorf("lost: %v", v)
	}
	if got := owners(all, known[0]); !slices.Equal(got, known) || slices.Contains(known, 1) {
		t.Errorf("owners in turn: %v, want %v", got, known)
	}
	if err := unix.Kill(init, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-n.ended:
		if err != nil {
			t.Errorf("process 1 ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("process 1 does not end")
	}
	if _, err := os.Lstat(w.conf.Path); !os.IsNotExist(err) {
		t.Errorf("the rendezvous: %v", err)
	}
}

// TestPID1 asks a server that is process 1 of a PID namespace to upgrade, and to hand over to one within: it refuses both,
// since its end would end the other, and says what to do.
func TestPID1(t *testing.T) {
	needRoot(t, "to make a PID namespace")
	t.Parallel()
	w := newWorld(t, "tcp")
	n := enter(t, w)
	await(t, "the server", func() bool { return call(w.addr).err == nil })
	if err := unix.Kill(n.init, unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	n.says(`"Ev":"upgrade"`, "this process is PID 1", "docs/operations.md")
	cmd := n.command(w, "nsenter", "--pid", "--target", strconv.Itoa(n.init))
	if err := cmd.Run(); err == nil {
		t.Error("one that was started in the namespace took over")
	}
	n.says(`"Ev":"join"`, "never hands over to this process", `"Is":"aborted unsupported"`)
	if v := call(w.addr); v.err != nil || v.pid != 1 {
		t.Errorf("it does not serve on: %v", v)
	}
}

// TestInit lets a program with Config.Init be process 1: it stays, upgrades happen below it and lose nobody, orphans are reaped,
// and the end of the program is its own.
func TestInit(t *testing.T) {
	needRoot(t, "to make a PID namespace")
	t.Parallel()
	for _, way := range []string{"terminated", "killed"} {
		t.Run(way, func(t *testing.T) {
			w := newWorld(t, "tcp")
			w.conf.Init, w.conf.Signals = true, true
			n := enter(t, w)
			await(t, "the server", func() bool { return call(w.addr).err == nil })
			vs := come(t, w.addr, 3)
			known := []int{vs.newcomer(t)}
			for range 3 {
				if err := unix.Kill(n.init, unix.SIGHUP); err != nil {
					t.Fatal(err)
				}
				known = append(known, vs.newcomer(t, known...))
			}
			await(t, "one process, which serves, and no dead one", func() bool {
				all := children(n.init)
				return len(all) == 1 && innerNumber(all[0]) == known[len(known)-1]
			})
			all := vs.leave()
			for _, v := range lost(all) {
				t.Errorf("lost: %v", v)
			}
			if got := owners(all, known[0]); !slices.Equal(got, known) || slices.Contains(known, 1) {
				t.Errorf("owners in turn: %v, want %v", got, known)
			}
			want := 0
			if way == "killed" {
				want = 128 + int(unix.SIGKILL)
				if err := unix.Kill(children(n.init)[0], unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
			} else if err := unix.Kill(n.init, unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-n.ended:
				status := 0
				var exit *exec.ExitError
				if errors.As(err, &exit) {
					status = exit.ExitCode()
				}
				if status != want {
					t.Errorf("process 1 ended with %d (%v), want %d", status, err, want)
				}
			case <-time.After(patience):
				t.Fatal("process 1 does not end")
			}
		})
	}
}

// TestInitOrphans: when the program has crashed, its process 1 does not wait for an heir among what cannot be one.
func TestInitOrphans(t *testing.T) {
	needRoot(t, "to make a PID namespace")
	t.Parallel()
	w := newWorld(t, "tcp")
	w.conf.Init, w.conf.StepTimeout = true, 10*patience // it would wait twice as long
	n := enter(t, w, "sh", "-c", `sleep 3600 & exec "$@"`, "sh")
	await(t, "the server", func() bool { return call(w.addr).err == nil })
	server := call(w.addr).pid
	for _, pid := range children(n.init) {
		if innerNumber(pid) == server {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	select {
	case err := <-n.ended:
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 128+int(unix.SIGKILL) {
			t.Errorf("process 1 ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("process 1 does not end")
	}
}

// inners counts them, for names.
var inners atomic.Int32

// inner is a PID namespace.
type inner struct {
	t     *testing.T
	init  int        // its process 1, in the numbers of the test
	ended chan error // what unshare(1) says when that has ended

	mu   sync.Mutex
	told strings.Builder // the events of the roles within
}

// enter makes a PID namespace whose process 1 is the program of the role tcp, or a command that gets it as its argument.
func enter(t *testing.T, w *world, before ...string) *inner {
	t.Helper()
	return enterBy(t, w, nil, before...)
}

// enterBy does so with more flags for unshare(1).
func enterBy(t *testing.T, w *world, flags []string, before ...string) *inner {
	t.Helper()
	n := &inner{t: t, ended: make(chan error, 1)}
	// The world must not see its events: they name processes by numbers of another namespace.
	w.conf.Events = filepath.Join(w.dir, fmt.Sprintf("inner%d", inners.Add(1)))
	if err := unix.Mkfifo(w.conf.Events, 0o600); err != nil {
		t.Fatal(err)
	}
	events, err := os.OpenFile(w.conf.Events, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(n, events)
	}()
	cmd := n.command(w, slices.Concat([]string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child"}, flags, before)...)
	err = cmd.Start()
	if err == nil {
		go func() { n.ended <- cmd.Wait() }()
	}
	t.Cleanup(func() {
		if err == nil {
			_ = cmd.Process.Kill() // unless it has ended
		}
		_ = events.Close()
		<-read
		if t.Failed() {
			t.Logf("events within:\n%s", n.told.String())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "process 1", func() bool { return len(children(cmd.Process.Pid)) == 1 })
	n.init = children(cmd.Process.Pid)[0]
	return n
}

// command is a command that gets the program of the role tcp as its last argument.
func (n *inner) command(w *world, words ...string) *exec.Cmd {
	n.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command(words[0], append(words[1:], exe)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), envRole+"=tcp", envConf+"="+w.configure(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	cmd.Stdout, cmd.Stderr = w.log, w.log
	return cmd
}

func (n *inner) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.told.Write(b)
}

// says waits for an event that contains all of texts.
func (n *inner) says(texts ...string) {
	n.t.Helper()
	await(n.t, fmt.Sprintf("an event with %q", texts), func() bool { return n.hears(texts...) })
}

// hears reports whether there was such an event.
func (n *inner) hears(texts ...string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(strings.Split(n.told.String(), "\n"), func(line string) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) })
	})
}

// children are the processes that pid has for children.
func children(pid int) (all []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // of any thread
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for _, s := range strings.Fields(string(b)) {
			n, _ := strconv.Atoi(s)
			all = append(all, n)
		}
	}
	return all
}

// innerNumber is the number that a process has in its own PID namespace.
func innerNumber(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "NSpid:" {
			n, _ := strconv.Atoi(f[len(f)-1])
			return n
		}
	}
	return 0
}

// await waits for what no event tells of.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// newcomer waits for a visit that nobody of known has greeted, and returns who has.
func (vs *visits) newcomer(t *testing.T, known ...int) int {
	t.Helper()
	deadline := time.After(patience)
	for i := 0; ; {
		vs.mu.Lock()
		for ; i < len(vs.all); i++ {
			if pid := vs.all[i].pid; pid != 0 && !slices.Contains(known, pid) {
				vs.mu.Unlock()
				return pid
			}
		}
		last := vs.last
		vs.mu.Unlock()
		select {
		case <-last:
		case <-deadline:
			t.Fatalf("nobody but %v answers", known)
		}
	}
}
