package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/integration/leak"
)

// envRole names what a test binary that was started by a test is to play.
const envRole = "SEGUE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(envRole); role {
	case "":
	case "segue":
		main()
	case "ignore":
		os.Exit(roleIgnore(os.Args[1:]))
	case "terminated":
		os.Exit(roleTerminated(os.Args[1]))
	case "hold":
		os.Exit(roleHold(os.Args[1]))
	case "server":
		os.Exit(roleSegueServer(os.Args[1]))
	case "activated":
		os.Exit(roleActivated())
	default:
		fmt.Fprintf(os.Stderr, "unknown role %q\n", role)
		os.Exit(64)
	}
	if err := os.Setenv(envKnown, strings.Join(foreign(), "|")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(leak.Main(m))
}

const patience = 30 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// roleHold serves its name on n sockets with one address, a server that knows nothing of anything, until its input ends.
func roleHold(count string) int {
	n, err := strconv.Atoi(count)
	if err != nil {
		return 64
	}
	lc := net.ListenConfig{Control: reusePort}
	addr := "127.0.0.1:0"
	for range n {
		l, err := lc.Listen(context.Background(), "tcp", addr)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		addr = l.Addr().String()
		go answer(l, "old")
	}
	fmt.Println(addr)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// roleActivated is a server that gets its sockets from systemd, or so it thinks. It checks what it gets.
func roleActivated() int {
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		fmt.Println("not activated:", os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID"), os.Getpid())
		return 1
	}
	for i := range n {
		f := os.NewFile(uintptr(3+i), "LISTEN_FD")
		l, err := net.FileListener(f)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		_ = f.Close()
		go answer(l, "new")
	}
	fmt.Println("activated with", n, os.Getenv("LISTEN_FDNAMES"), "as", os.Getpid(), strings.Join(os.Args[1:], "|"), "inherited", foreign())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// envKnown has what the test itself inherited, as foreign returns it.
const envKnown = "SEGUE_TEST_KNOWN"

// foreign returns what was inherited beside the standard files and the sockets; not what the Go runtime itself has, which
// is epoll, an eventfd and the limits of the cgroup, nor what whoever runs these tests has left open.
func foreign() []string {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return []string{err.Error()}
	}
	links, known := []string{}, strings.Split(os.Getenv(envKnown), "|")
	for _, e := range entries {
		link, err := os.Readlink("/proc/self/fd/" + e.Name())
		number, _ := strconv.Atoi(e.Name())
		if err != nil || number < 3 || slices.Contains(known, link) || slices.ContainsFunc([]string{"anon_inode:[event", "/sys/fs/cgroup/", "/proc/", "socket:"},
			func(prefix string) bool { return strings.HasPrefix(link, prefix) }) {
			continue
		}
		links = append(links, link)
	}
	return links
}

func answer(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, name)
		_ = c.Close()
	}
}

// visit asks who serves.
func visit(t *testing.T, addr string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	b, err := io.ReadAll(c)
	must(t, err)
	return string(b)
}

// child is a process that a test started.
type child struct {
	*exec.Cmd
	in       io.WriteCloser
	out      *os.File // its standard output
	done     chan struct{}
	err      error
	messages bytes.Buffer // its standard error, complete when it has ended
}

// ordinary is a user who is nobody in particular.
var ordinary = &syscall.Credential{Uid: 54321, Gid: 54321}

// play starts this test binary in a role.
func play(t *testing.T, role string, args ...string) *child {
	t.Helper()
	return playAs(t, nil, role, args...)
}

func playAs(t *testing.T, as *syscall.Credential, role string, args ...string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command("/proc/self/exe", args...), done: make(chan struct{})}
	c.Env = append(os.Environ(), envRole+"="+role, "GOCOVERDIR="+os.TempDir())
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Credential: as}
	c.Dir = "/"
	var err error
	c.in, err = c.StdinPipe()
	must(t, err)
	r, w, err := os.Pipe()
	must(t, err)
	c.out, c.Stdout, c.Stderr = r, w, &c.messages
	c.WaitDelay = patience
	must(t, c.Start())
	_ = w.Close()
	go func() {
		c.err = c.Wait()
		close(c.done)
	}()
	t.Cleanup(func() {
		_ = c.in.Close()
		select {
		case <-c.done:
		case <-time.After(patience):
			_ = c.Process.Kill()
			<-c.done
			t.Errorf("%v did not end", c.Args)
		}
		_ = r.Close()
		if t.Failed() {
			t.Logf("%v ended with %v and said:\n%s", c.Args, c.err, c.messages.String())
		}
	})
	return c
}

// line reads a line of its standard output.
func (c *child) line(t *testing.T) string {
	t.Helper()
	must(t, c.out.SetReadDeadline(time.Now().Add(patience)))
	var b []byte
	for one := make([]byte, 1); ; {
		if _, err := c.out.Read(one); err != nil {
			t.Fatalf("%v: %v after %q", c.Args, err, b)
		}
		if one[0] == '\n' {
			return string(b)
		}
		b = append(b, one[0])
	}
}

func (c *child) pid() string { return strconv.Itoa(c.Process.Pid) }

// status waits for its end.
func (c *child) status(t *testing.T) int {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		t.Fatalf("%v does not end", c.Args)
	}
	var exit *exec.ExitError
	if c.err != nil && !errors.As(c.err, &exit) {
		t.Fatal(c.err)
	}
	return c.ProcessState.ExitCode()
}

// activated is the command line of roleActivated: whatever role segue itself had, in the environment.
func activated(t *testing.T, args ...string) []string {
	t.Helper()
	path, err := os.Executable()
	must(t, err)
	return append([]string{"env", envRole + "=activated", path}, args...)
}
