package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/process"
)

func reusePort(_, _ string, c syscall.RawConn) error {
	var opErr error
	err := c.Control(func(fd uintptr) { opErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	if err != nil {
		return err
	}
	return opErr
}

// TestAdopt starts a program that knows only LISTEN_FDS in the place of one that knows nothing, for as many sockets as may
// get in the way of the runtime's own descriptors.
func TestAdopt(t *testing.T) {
	for _, n := range []int{1, 8} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			old := play(t, "hold", strconv.Itoa(n))
			addr := old.line(t)
			args := []string{"adopt", "--pid", old.pid(), "--listen", "web=" + addr, "--"}
			next := play(t, "segue", append(args, activated(t, "-x", "a b", "--", "")...)...)
			want := fmt.Sprintf("activated with %d %s as %d -x|a b|--| inherited []", n, strings.TrimSuffix(strings.Repeat("web:", n), ":"), next.Process.Pid)
			if got := next.line(t); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			must(t, old.in.Close())
			if s := old.status(t); s != 0 {
				t.Errorf("the old program ended with %d", s)
			}
			for range 20 {
				if who := visit(t, addr); who != "new" {
					t.Errorf("%q answered", who)
				}
			}
			must(t, next.in.Close())
			if s := next.status(t); s != 0 {
				t.Errorf("the new program ended with %d", s)
			}
		})
	}
}

// TestAdoptSignal lets the old program be told once the new one has settled, at once or when it is idle.
func TestAdoptSignal(t *testing.T) {
	for _, idle := range []string{"0s", "20s"} {
		t.Run("idle "+idle, func(t *testing.T) {
			old := play(t, "hold", "2")
			addr := old.line(t)
			args := []string{"adopt", "--pid", old.pid(), "--listen", addr, "--signal", "term", "--settle", "0s", "--idle", idle, "--"}
			next := play(t, "segue", append(args, activated(t)...)...)
			if got := next.line(t); !strings.HasPrefix(got, "activated with 2 tcp-") {
				t.Errorf("got %s", got)
			}
			old.status(t)
			if ws, ok := old.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGTERM {
				t.Errorf("the old program ended with %v", old.err)
			}
			for range 10 {
				if who := visit(t, addr); who != "new" {
					t.Errorf("%q answered", who)
				}
			}
			children(t, next.Process.Pid)
			reap(t)
		})
	}
}

// children fails the test if a process that should know of no child has one.
func children(t *testing.T, pid int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err == nil && len(b) > 0 {
		t.Errorf("it has children: %s", b)
	}
}

// reap waits for the process that sends the signal, which is orphaned and hence ours (PR_SET_CHILD_SUBREAPER).
func reap(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("this kernel does not list a process's children (CONFIG_PROC_CHILDREN):", err)
	}
	for _, f := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(f)
		must(t, err)
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(args), "adopt-signal") || len(args) == 0 {
			p, err := os.FindProcess(pid)
			must(t, err)
			_, _ = p.Wait()
		}
	}
}

// TestAdoptFails starts a program that ends at once, or cannot be executed: the old one is not told.
func TestAdoptFails(t *testing.T) {
	file := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(path, []byte(content), 0o700))
		return path
	}
	old := play(t, "hold", "1")
	addr := old.line(t)
	for name, tt := range map[string]struct {
		settle  string
		command []string
		status  int
		want    string
	}{
		"ends":           {"20s", []string{"sh", "-c", "exit 7"}, 7, "has ended within 20s; process " + old.pid() + " was not told"},
		"no interpreter": {"0s", []string{file("script", "#!/no/such/interpreter\n")}, exitCannot, "could not be started; process " + old.pid() + " was not told"},
		"no program":     {"0s", []string{file("garbage", "\x7fELFnonsense")}, exitCannot, "could not be started; process " + old.pid() + " was not told"},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"adopt", "--pid", old.pid(), "--listen", addr, "--signal", "KILL", "--settle", tt.settle, "--"}
			c := play(t, "segue", append(args, tt.command...)...)
			if s := c.status(t); s != tt.status {
				t.Errorf("ended with %d", s)
			}
			reap(t)
			if got := c.messages.String(); !strings.Contains(got, tt.want) || strings.Contains(got, "adopt-") {
				t.Errorf("said %s", got)
			}
			if who := visit(t, addr); who != "old" {
				t.Errorf("%q answered", who)
			}
		})
	}
}

// TestAdoptPython starts a program in Python that knows LISTEN_FDS.
func TestAdoptPython(t *testing.T) {
	python := "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		if python, err = exec.LookPath("python3"); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal("missing: python3; for example: apt-get install python3")
			}
			t.Skip("missing: python3; for example: apt-get install python3")
		}
	}
	for name, as := range map[string]*syscall.Credential{"us": nil, "ordinary user": ordinary} {
		t.Run(name, func(t *testing.T) {
			if as != nil && os.Geteuid() != 0 {
				t.Skip("needs root, to start programs as another user")
			}
			adoptPython(t, as, python)
		})
	}
}

func adoptPython(t *testing.T, as *syscall.Credential, python string) {
	t.Helper()
	old := playAs(t, as, "hold", "1")
	addr := old.line(t)
	next := playAs(t, as, "segue", "adopt", "--pid", old.pid(), "--listen", addr, "--signal", "TERM", "--settle", "0s", "--", python, "-c", `
import os, socket, sys
assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1", os.environ
s = socket.socket(fileno=3)
s.setblocking(True)
print("ready", os.environ["LISTEN_FDNAMES"], flush=True)
while True:
    c, _ = s.accept()
    c.sendall(b"Python")
    c.close()
`)
	if got := next.line(t); got != "ready tcp-"+addr[strings.LastIndex(addr, ":")+1:] {
		t.Errorf("got %s", got)
	}
	old.status(t)
	for range 5 {
		if who := visit(t, addr); who != "Python" {
			t.Errorf("%q answered", who)
		}
	}
	must(t, next.Process.Kill())
	reap(t)
}

// TestRefused wants to hear why another user's sockets are out of reach.
func TestRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to start programs as another user")
	}
	old := play(t, "hold", "1")
	addr := old.line(t)
	for _, args := range [][]string{
		{"sockets", "--pid", old.pid()},
		{"adopt", "--pid", old.pid(), "--listen", addr, "--signal", "KILL", "--", "true"},
	} {
		c := playAs(t, ordinary, "segue", args...)
		if s, got := c.status(t), c.messages.String(); s != 1 || !strings.Contains(got, ": process "+old.pid()+" runs as another user or group (uid 0, gid 0); run this as that user and group, or as root\n") {
			t.Errorf("%v ended with %d and said: %s", args, s, got)
		}
	}
	c := playAs(t, ordinary, "segue", "sockets")
	if s, got := c.status(t), c.messages.String(); s != 0 || !strings.Contains(got, "run as root to see them") {
		t.Errorf("ended with %d and said: %s", s, got)
	}
	if who := visit(t, addr); who != "old" {
		t.Errorf("%q answered", who)
	}
}

// TestErrors wants an exit status and a message that helps.
func TestErrors(t *testing.T) {
	old := play(t, "hold", "1")
	addr := old.line(t)
	ended := exec.Command("true")
	must(t, ended.Run())
	gone := strconv.Itoa(ended.Process.Pid)
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{}, 2, "Commands:"},
		{[]string{"bogus"}, 2, `unknown command "bogus"`},
		{[]string{"help", "bogus"}, 2, `unknown command "bogus"`},
		{[]string{"help", "adopt-exec"}, 2, "use adopt"},
		{[]string{"help", "stop", "upgrade"}, 2, `no command "stop upgrade"`},
		{[]string{"version", "x"}, 2, `"x"`},
		{[]string{"completion"}, 2, "bash, zsh, fish"},
		{[]string{"completion", "tcsh"}, 2, "tcsh"},
		{[]string{"sockets", "--pdi", "1"}, 2, "--pdi"},
		{[]string{"sockets", "1"}, 2, `unknown command "1" for "segue sockets"`},
		{[]string{"sockets", "--pid", "0"}, 2, `invalid argument "0" for "--pid" flag: that is not the number of a process`},
		{[]string{"sockets", "--pid", "x -y"}, 2, `invalid argument "x -y" for "--pid" flag: that is not`},
		{[]string{"sockets", "--pid"}, 2, "needs an argument: --pid"},
		{[]string{"sockets", "--json=x -y"}, 2, `invalid argument "x -y" for "--json" flag`},
		{[]string{"sockets", "--pid", gone}, 1, "the process is gone"},
		{[]string{"adopt"}, 2, "--pid"},
		{[]string{"adopt", "--pid", "1"}, 2, "--listen"},
		{[]string{"adopt", "--pid", "1", "--listen", ":80"}, 2, "after --"},
		{[]string{"adopt", "--pid", "1", "--listen", "80", "--", "true"}, 2, "say :80"},
		{[]string{"adopt", "--pid", "1", "--listen", "foo/:80", "--", "true"}, 2, `no network "foo"`},
		{[]string{"adopt", "--pid", "1", "--listen", "a=", "--", "true"}, 2, "no address"},
		{[]string{"adopt", "--pid", "1", "--listen", ":80", "--signal", "TREM", "--", "true"}, 2, `no signal "TREM"`},
		{[]string{"adopt", "--pid", "1", "--listen", ":80", "--idle", "1s", "--", "true"}, 2, "--signal"},
		{[]string{"adopt", "--pid", "1", "--listen", ":80", "--settle", "1s", "--", "true"}, 2, "--signal"},
		{[]string{"adopt", "--pid", "1", "--listen", "a:b=:80", "--", "true"}, 2, "without a colon"},
		{[]string{"adopt", "--pid", "1", "--listen", ":80", "--settle", "-1s", "--", "true"}, 2, "negative"},
		{[]string{"adopt", "--pid", "1", "--listen", ":80", "--settle", "5", "--", "true"}, 2, `"--settle" flag: it needs a unit; say for example 5s`},
		{[]string{"adopt", "--pid", "1", "--listen", ":80", "--idle", "soon", "--", "true"}, 2, `"--idle" flag: that is not a time; say`},
		{[]string{"adopt", "--pid", old.pid(), "--listen", addr, "--", "no-such-program"}, 127, `no program "no-such-program"`},
		{[]string{"adopt", "--pid", old.pid(), "--listen", addr, "--", "/no/such/program"}, 127, "/no/such/program: no such file"},
		{[]string{"adopt", "--pid", old.pid(), "--listen", addr, "--", "/proc/version"}, 126, "/proc/version: permission denied"},
		{[]string{"adopt", "--pid", old.pid(), "--listen", addr, "--", "/"}, 126, "cannot execute /"},
		{[]string{"adopt", "--pid", gone, "--listen", addr, "--", "true"}, 1, "the process is gone"},
		{[]string{"adopt", "--pid", old.pid(), "--listen", ":1", "--", "true"}, 1, "ask for one that it has: tcp/" + addr},
		{[]string{"adopt-exec"}, 2, "use adopt"},
		{[]string{"adopt-exec", "--fds", "3", "--", "true", "true"}, 2, "descriptor 3"},
		{[]string{"adopt-signal"}, 2, "use adopt"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			c := play(t, "segue", tt.args...)
			if s := c.status(t); s != tt.status || !strings.Contains(c.messages.String(), tt.want) || strings.Contains(c.messages.String(), "help adopt-") ||
				strings.Contains(c.messages.String(), "segue adopt-") {
				t.Errorf("ended with %d and said: %s", s, c.messages.String())
			}
		})
	}
	if who := visit(t, addr); who != "old" {
		t.Errorf("%q answered", who)
	}
}

// TestFull wants to be told when what was asked for could not be written.
func TestFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must(t, err)
	defer full.Close()
	for _, args := range [][]string{{"help"}, {"--help"}, {"help", "adopt"}, {"adopt", "--help"}, {"--version"}, {"sockets"}, {"sockets", "--json"},
		{"completion", "bash"}, {"completion", "zsh"}, {"completion", "fish"}} {
		var stderr strings.Builder
		e := env{stdout: full, stderr: &stderr}
		if s := e.run(args); s != exitFailure || strings.Count(stderr.String(), "no space left") != 1 {
			t.Errorf("%v: status %d, said %s", args, s, &stderr)
		}
	}
}

// TestSockets lists those of one process, and those of all.
func TestSockets(t *testing.T) {
	old := play(t, "hold", "2")
	addr := old.line(t)
	var stdout, stderr strings.Builder
	e := env{stdout: &stdout, stderr: &stderr, self: selfPath}
	if s := e.run([]string{"sockets", "--pid", old.pid()}); s != 0 {
		t.Fatalf("status %d: %s", s, &stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	if len(lines) != 3 || !slices.Equal(strings.Fields(lines[0]), []string{"NETWORK", "ADDRESS", "STATE", "DETAILS", "NETNS", "PROCESSES"}) {
		t.Fatalf("got\n%s", &stdout)
	}
	for _, l := range lines[1:] {
		f := strings.Fields(l)
		if len(f) != 6 || f[0] != "tcp" || f[1] != addr || f[2] != "listening" || !strings.Contains(f[3], "reuseport") ||
			!strings.Contains(f[5], "["+old.pid()+"]:") {
			t.Errorf("got %s", l)
		}
	}

	var one, all []process.Socket
	stdout.Reset()
	e.run([]string{"sockets", "--json", "--pid", old.pid()})
	must(t, json.Unmarshal([]byte(stdout.String()), &one))
	stdout.Reset()
	e.run([]string{"sockets", "--json"})
	must(t, json.Unmarshal([]byte(stdout.String()), &all))
	all = slices.DeleteFunc(all, func(s process.Socket) bool { return s.Address != addr })
	if len(one) != 2 || len(all) != 2 || !one[0].Detailed || one[0].Cookie == 0 || all[0].Detailed || all[0].Inode != one[0].Inode ||
		!reflect.DeepEqual(all[0].Holders, one[0].Holders) {
		t.Errorf("one has %+v\nall has %+v", one, all)
	}

	none := exec.Command("sleep", "100")
	must(t, none.Start())
	defer func() { _ = none.Process.Kill(); _ = none.Wait() }()
	stdout.Reset()
	if s := e.run([]string{"sockets", "--json", "--pid", strconv.Itoa(none.Process.Pid)}); s != 0 || stdout.String() != "[]\n" {
		t.Errorf("status %d: %s", s, &stdout)
	}
	stderr.Reset()
	if s := e.run([]string{"sockets", "--pid", strconv.Itoa(none.Process.Pid)}); s != 0 || !strings.Contains(stderr.String(), "listen on nothing") {
		t.Errorf("status %d: %s", s, &stderr)
	}
}
