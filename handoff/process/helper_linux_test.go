package process_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait; none comes near it unless a test fails.
const patience = time.Minute

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ordinary is a user who is nobody in particular.
var ordinary = &syscall.Credential{Uid: 54321, Gid: 54321}

// eachUser runs a test as the user that the tests run as, and as an ordinary one.
func eachUser(t *testing.T, f func(t *testing.T, as *syscall.Credential)) {
	t.Run("us", func(t *testing.T) { f(t, nil) })
	t.Run("ordinary user", func(t *testing.T) {
		needRoot(t)
		f(t, ordinary)
	})
}

// needRoot skips a test that needs root, to start programs as another user or in another namespace. CI runs as root.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "needs root")
	}
}

// skip skips a test, or fails it in CI.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// until waits for what cannot be waited for.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(time.Millisecond) // polling
	}
}

// program returns the path of a program that a test needs. Where it is missing, the test is skipped, or fails in CI.
func program(t *testing.T, how string, paths ...string) string {
	t.Helper()
	for _, p := range paths {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	skip(t, fmt.Sprintf("missing: %s; for example: %s", paths[len(paths)-1], how))
	return ""
}

// workDir makes a directory that belongs to a user, with a short name, because it may be for a Unix socket.
func workDir(t *testing.T, as *syscall.Credential) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "segue")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if as != nil {
		must(t, os.Chown(dir, int(as.Uid), int(as.Gid)))
	}
	return dir
}

// child is a process that a test started.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	done  chan struct{} // closed when it has ended, and was waited for
	err   error         // valid then

	mu     sync.Mutex
	output strings.Builder
}

// start starts a command as a user. Its output is shown if the test fails; it is killed at the end.
func start(t *testing.T, as *syscall.Credential, cmd *exec.Cmd) *child {
	t.Helper()
	c := &child{t: t, cmd: cmd, lines: make(chan string, 1000), done: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if as != nil {
		cmd.SysProcAttr.Credential = as
	}
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	r, w, err := os.Pipe()
	must(t, err)
	cmd.Stdout, cmd.Stderr = w, w
	c.in, err = cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	_ = w.Close()
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(c.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			c.mu.Lock()
			fmt.Fprintln(&c.output, s.Text())
			c.mu.Unlock()
			select {
			case c.lines <- s.Text():
			default: // nobody reads so much
			}
		}
	})
	go func() {
		c.err = cmd.Wait()
		close(c.done)
	}()
	t.Cleanup(func() {
		select {
		case <-c.done:
		default: // the children too: it is in a process group of its own, which exists at least until it is waited for
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
		<-c.done
		_ = r.SetReadDeadline(time.Now().Add(time.Second)) // a grandchild may have it still
		reading.Wait()
		_ = r.Close()
		if t.Failed() {
			t.Logf("%v, process %d, ended with %v, and printed:\n%s", cmd.Args, cmd.Process.Pid, c.err, c.output.String())
		}
	})
	return c
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// line waits for a line that begins with prefix, and returns what follows.
func (c *child) line(prefix string) string {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case l, ok := <-c.lines:
			if !ok {
				c.t.Fatalf("%v ended without printing %q", c.cmd.Args, prefix)
			}
			if rest, ok := strings.CutPrefix(l, prefix); ok {
				return rest
			}
		case <-timeout:
			c.t.Fatalf("%v does not print %q", c.cmd.Args, prefix)
		}
	}
}

// wait waits until it has ended.
func (c *child) wait() error {
	c.t.Helper()
	select {
	case <-c.done:
		return c.err
	case <-time.After(patience):
		c.t.Fatalf("%v, process %d, does not end", c.cmd.Args, c.pid())
		return nil
	}
}

// play starts this test binary in a role. /proc/self/exe is open to users who may not enter the directory.
func play(t *testing.T, as *syscall.Credential, role string, args ...string) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), envRole+"="+role, "GOCOVERDIR="+os.TempDir())
	return start(t, as, cmd)
}

// freeAddress returns an address that was free a moment ago, for programs that cannot choose one themselves.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// accepting waits until somebody listens at addr.
func accepting(t *testing.T, c *child, addr string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-c.done:
			t.Fatalf("%v ended: %v", c.cmd.Args, c.err)
		case <-time.After(10 * time.Millisecond): // to be tried again, with a deadline
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens on %s: %v", addr, err)
		}
	}
}
