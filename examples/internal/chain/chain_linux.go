package chain

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait.
const patience = 30 * time.Second

// Chain is the generations of one program. What they print is shown if the test fails. Its methods end the test if
// they fail, so they are for the test's own goroutine.
type Chain struct {
	t       testing.TB
	program string
	args    []string
	log     *os.File // the write end of what the processes print
	starts  []*process

	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed and made anew with each line
}

// process is one that this package started, not one that an upgrade did.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended
	err  error         // of exec.Cmd.Wait
}

// New builds the program in the directory of the test. All processes get args and a -segue path. They are killed when
// the test ends.
func New(t testing.TB, args ...string) *Chain {
	t.Helper()
	dir := t.TempDir()
	c := &Chain{t: t, program: filepath.Join(dir, "program"), more: make(chan struct{})}
	c.args = slices.Concat(args, []string{"-segue", filepath.Join(dir, "segue.sock")})

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", c.program, ".")
	if race {
		build = exec.CommandContext(ctx, "go", "build", "-race", "-o", c.program, ".")
	}
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.log = w
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer r.Close()
		c.read(r)
	}()
	t.Cleanup(func() {
		for _, p := range c.starts {
			// Successors are in the group of the process that began the chain.
			_ = syscall.Kill(-p.pid, syscall.SIGKILL)
			<-p.done
		}
		_ = w.Close()
		select {
		case <-read: // every process that could print has ended
		case <-time.After(patience):
			t.Error("a process outlived SIGKILL to its group")
			_ = r.SetReadDeadline(time.Now())
			<-read
		}
		if t.Failed() {
			t.Logf("the processes printed:\n%s", strings.Join(c.lines, "\n"))
		}
	})
	return c
}

func (c *Chain) read(r *os.File) {
	for s := bufio.NewScanner(r); s.Scan(); {
		c.mu.Lock()
		c.lines = append(c.lines, s.Text())
		close(c.more)
		c.more = make(chan struct{})
		c.mu.Unlock()
	}
}

// Start starts the program, in a process group of its own, and returns its process id.
func (c *Chain) Start() int {
	c.t.Helper()
	cmd := exec.Command(c.program, c.args...)
	cmd.Stdout, cmd.Stderr = c.log, c.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	p := &process{pid: cmd.Process.Pid, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	c.starts = append(c.starts, p)
	return p.pid
}

// Address starts the program and returns the address that it says it listens on.
func (c *Chain) Address() string {
	c.t.Helper()
	c.Start()
	const says = "listening on "
	_, addr, _ := strings.Cut(c.Printed(says), says)
	return addr
}

// Printed waits for a line that contains text, and returns the first.
func (c *Chain) Printed(text string) string {
	c.t.Helper()
	timeout := time.After(patience)
	for from := 0; ; {
		c.mu.Lock()
		lines, more := c.lines, c.more
		c.mu.Unlock()
		for ; from < len(lines); from++ {
			if strings.Contains(lines[from], text) {
				return lines[from]
			}
		}
		select {
		case <-more:
		case <-timeout:
			c.t.Fatalf("no process printed %q within %v", text, patience)
		}
	}
}

// Until calls f until it returns true.
func (c *Chain) Until(what string, f func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// Upgrade upgrades the process owner by SIGHUP, waits until owned returns another process, and returns that.
func (c *Chain) Upgrade(owner int, owned func() int) int {
	c.t.Helper()
	if err := syscall.Kill(owner, syscall.SIGHUP); err != nil {
		c.t.Fatal(err)
	}
	next := owner
	c.Until("upgrade by SIGHUP", func() bool { next = owned(); return next != owner })
	return next
}

// TakeOver starts the program once more, waits until owned returns that process, and returns it.
func (c *Chain) TakeOver(owned func() int) int {
	c.t.Helper()
	next := c.Start()
	c.Until("take-over by a second start", func() bool { return owned() == next })
	return next
}

// Stop stops the process owner by SIGTERM, waits until it and all before it have ended, and fails the test for each
// that this package started and that did not end well.
func (c *Chain) Stop(owner int) {
	c.t.Helper()
	if err := syscall.Kill(owner, syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	c.Until("end of the last generation", func() bool { return gone(owner) })
	for _, p := range c.starts {
		select {
		case <-p.done:
			if p.err != nil {
				c.t.Errorf("process %d: %v", p.pid, p.err)
			}
		case <-time.After(patience):
			c.t.Errorf("process %d has not ended", p.pid)
		}
	}
}

// gone reports whether a process has ended; a zombie that nobody reaps has.
func gone(pid int) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return true
	}
	// The name is in parentheses and may contain anything; the state follows it.
	i := bytes.LastIndexByte(stat, ')')
	return i >= 0 && i+2 < len(stat) && stat[i+2] == 'Z'
}
