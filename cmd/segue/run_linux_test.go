package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/integration/load"
)

// supervisor is a running "segue run".
type supervisor struct {
	t    *testing.T
	cmd  *exec.Cmd
	addr string
	done chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

func (s *supervisor) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

func (s *supervisor) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// freeAddr is one that nobody listens on; loopback has many.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// supervised starts "segue run" with args, as this process does, or as a wrapper has it.
func supervised(t *testing.T, wrap []string, env []string, args ...string) *supervisor {
	t.Helper()
	s := &supervisor{t: t, done: make(chan struct{})}
	argv := append(slices.Clone(wrap), append([]string{"/proc/self/exe", "run"}, args...)...)
	exe, err := os.Executable()
	must(t, err)
	for i, a := range argv {
		if a == "/proc/self/exe" {
			argv[i] = exe
		}
	}
	s.cmd = exec.Command(argv[0], argv[1:]...)
	s.cmd.Env = append(append(os.Environ(), envRole+"=segue"), env...)
	s.cmd.Stdout, s.cmd.Stderr = s, s
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	must(t, s.cmd.Start())
	go func() { _ = s.cmd.Wait(); close(s.done) }()
	t.Cleanup(func() {
		_ = s.cmd.Process.Signal(unix.SIGTERM)
		select {
		case <-s.done:
		case <-time.After(patience):
			_ = s.cmd.Process.Kill()
			<-s.done
		}
		if t.Failed() {
			t.Logf("segue run said:\n%s", s.said())
		}
	})
	return s
}

// python starts server.py below "segue run", with flags.
func python(t *testing.T, env []string, flags ...string) *supervisor {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		skip(t, "python3")
	}
	addr := freeAddr(t)
	s := supervised(t, nil, env, append(append([]string{"--listen", addr}, flags...), "--", "python3", "testdata/server.py")...)
	s.addr = addr
	return s
}

// skip skips a test for want of something that CI has.
func skip(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing", what)
	}
	t.Skipf("needs %s", what)
}

// has waits until the log contains text n times.
func (s *supervisor) has(text string, n int) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d times %q in the log", n, text), func() bool { return strings.Count(s.said(), text) >= n })
}

func (s *supervisor) eventually(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func (s *supervisor) signal(sig syscall.Signal) {
	s.t.Helper()
	must(s.t, s.cmd.Process.Signal(sig))
}

// ends waits for the end, and returns the exit status.
func (s *supervisor) ends() int {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatal("segue run does not end")
	}
	return s.cmd.ProcessState.ExitCode()
}

// asks returns the process that answers.
func (s *supervisor) asks() int {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get("http://" + s.addr + "/token?token=x")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	pid, _ := strconv.Atoi(resp.Header.Get("X-Segue-Pid"))
	return pid
}

// loaded drives the server while f runs, and reports what clients lost.
func (s *supervisor) loaded(kept int, f func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	result := make(chan error, 1)
	var n int
	go func() {
		res, err := load.Run(ctx, load.Options{Address: s.addr, New: 3, Kept: kept, Slow: 2, SlowFor: 100 * time.Millisecond, Timeout: patience})
		if err == nil {
			n, err = res.Counts().Requests, res.Err()
		}
		result <- err
	}()
	f()
	cancel()
	err := <-result
	if err != nil {
		s.t.Errorf("clients lost something: %v", err)
	}
	s.t.Logf("%d requests", n)
}

// TestRunPython replaces a server that knows nothing of segue ten times under load, by each kind of readiness.
func TestRunPython(t *testing.T) {
	for name, flags := range map[string][]string{
		"notify": {"--ready", "notify"}, "http": {"--ready", "http:/token"}, "tcp": {"--ready", "tcp"}, "time": {"--ready", "300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			env, times := []string{"SILENT="}, 10
			if name != "notify" {
				env = []string{"SILENT=1"}
			}
			if testing.Short() {
				times = 2
			}
			s := python(t, env, flags...)
			s.has("msg=serving", 1)
			first := s.asks()
			s.loaded(3, func() {
				for i := range times {
					s.signal(unix.SIGHUP)
					s.has("msg=serving", 2+i)
				}
			})
			if now := s.asks(); now == first || now == 0 {
				t.Errorf("process %d serves, as at first", now)
			}
			s.signal(unix.SIGTERM)
			if status := s.ends(); status != 0 {
				t.Errorf("status %d", status)
			}
		})
	}
}

// TestRunBroken starts new processes that end at once, or never become ready and ignore SIGTERM. The old one serves on.
func TestRunBroken(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	s := python(t, []string{"BROKEN=" + broken}, "--ready", "notify", "--ready-timeout", "12s")
	s.has("msg=serving", 1)
	first := s.asks()
	s.loaded(1, func() {
		must(t, os.WriteFile(broken, []byte("exit"), 0o600))
		s.signal(unix.SIGHUP)
		s.has("a new process ended before it was ready; the old one serves on", 1)
		must(t, os.WriteFile(broken, []byte("hang"), 0o600))
		s.signal(unix.SIGHUP)
		s.has("a new process was not ready in time and is ended; the old one serves on", 1)
		s.has("a process did not end in time and is killed", 1)
		s.has("a new process ended before it was ready; the old one serves on", 2)
	})
	if now := s.asks(); now != first {
		t.Errorf("process %d serves, not the first one, %d", now, first)
	}
}

// TestRunCrash kills the server. Clients wait in the queue of the socket, which stays, and the next process answers them.
func TestRunCrash(t *testing.T) {
	s := python(t, nil, "--ready", "notify")
	s.has("msg=serving", 1)
	first := s.asks()
	must(t, unix.Kill(first, unix.SIGKILL))
	c, err := net.DialTimeout("tcp", s.addr, patience) // nobody is there to accept it
	must(t, err)
	_ = c.Close()
	if now := s.asks(); now == first || now == 0 {
		t.Errorf("process %d answers", now)
	}
	s.has("COMMAND is started again", 1)
}

// TestRunStatus wants the status of COMMAND, whatever it does.
func TestRunStatus(t *testing.T) {
	for name, tt := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"at once":        {[]string{"--", "sh", "-c", "exit 7"}, 7, "COMMAND is not started again"},
		"well":           {[]string{"--", "true"}, 0, ""},
		"killed":         {[]string{"--", "sh", "-c", "kill -USR1 $$"}, 128 + int(unix.SIGUSR1), ""},
		"none":           {[]string{"--", "./no-such-program"}, 127, "no such file"},
		"not executable": {[]string{"--", "./testdata/server.py"}, 126, "cannot execute"},
		"again and again": {[]string{"--ready", "1ms", "--restarts", "2", "--", "sh", "-c", "sleep 0.2; exit 9"}, 9,
			"failures=3"},
		"address in use": {[]string{"--listen", "127.0.0.1:0", "--listen", "unix/testdata", "--", "true"}, 1, "address already in use"},
		"not ready":      {[]string{"--ready", "notify", "--ready-timeout", "100ms", "--", "sleep", "3600"}, 128 + int(unix.SIGTERM), "not ready in time"},
	} {
		t.Run(name, func(t *testing.T) {
			s := supervised(t, nil, nil, tt.args...)
			if status := s.ends(); status != tt.status || !strings.Contains(s.said(), tt.says) {
				t.Errorf("status %d, want %d and %q:\n%s", status, tt.status, tt.says, s.said())
			}
		})
	}
}

// TestRunStubborn stops a COMMAND that ignores SIGTERM.
func TestRunStubborn(t *testing.T) {
	s := supervised(t, nil, nil, "--ready", "10ms", "--stop-timeout", "300ms", "--", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done")
	s.has("up", 1)
	s.signal(unix.SIGTERM)
	if status := s.ends(); status != 128+int(unix.SIGKILL) {
		t.Errorf("status %d", status)
	}
}

// TestRunEarly sends SIGTERM before COMMAND is there, and when it has no handler yet: nothing is left of it. The process ends by the
// signal itself only before it has said anything.
func TestRunEarly(t *testing.T) {
	for i := range 8 {
		mark := fmt.Sprintf("36%d.%d", i, os.Getpid())
		s := supervised(t, nil, nil, "--", "sleep", mark)
		if i%2 == 1 {
			s.has("msg=started", 1)
		}
		s.signal(unix.SIGTERM)
		status := s.ends()
		if status != 128+int(unix.SIGTERM) && (status != -1 || s.said() != "") {
			t.Errorf("status %d: %s", status, s.said())
		}
		if left := withArgument(mark); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// withArgument lists the processes that have an argument.
func withArgument(arg string) (all []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if slices.Contains(strings.Split(string(b), "\x00"), arg) {
			all = append(all, f)
		}
	}
	return all
}

// TestRunLeavesNothing: what COMMAND has left behind, in a session of its own, ends with segue run.
func TestRunLeavesNothing(t *testing.T) {
	mark := fmt.Sprintf("370.%d", os.Getpid())
	s := supervised(t, nil, nil, "--", "sh", "-c", `setsid sh -c 'trap "" TERM; echo up; sleep `+mark+`; :' & read x </dev/null; sleep 0.2; exit 3`)
	if status := s.ends(); status != 3 || !strings.Contains(s.said(), "up") {
		t.Errorf("status %d: %s", status, s.said())
	}
	if left := withArgument(mark); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestRunRefused sends SIGHUP to what could not hand over.
func TestRunRefused(t *testing.T) {
	s := supervised(t, nil, nil, "--ready", "10ms", "--", "sleep", "3600")
	s.has("msg=serving", 1)
	s.signal(unix.SIGHUP)
	s.has("SIGHUP is refused", 1)
	if n := strings.Count(s.said(), "msg=started"); n != 1 {
		t.Errorf("%d processes were started", n)
	}
}

// TestRunNested runs one below the other: the inner one gets the sockets of the outer one, passes them on, and says when it is
// ready. So it would be below systemd.
func TestRunNested(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		skip(t, "python3")
	}
	addr, exe := freeAddr(t), "/proc/self/exe"
	s := supervised(t, nil, nil, "--listen", "web="+addr, "--ready", "notify", "--", exe, "run", "--ready", "notify", "--", "python3", "testdata/server.py")
	s.addr = addr
	s.has("msg=serving", 2)
	first := s.asks()
	s.loaded(2, func() {
		s.signal(unix.SIGHUP)
		s.has("msg=serving", 4)
		s.has("a process has drained", 1)
	})
	if now := s.asks(); now == first || now == 0 {
		t.Errorf("process %d serves, and %d did at first", now, first)
	}
}

// TestRunPasses passes a signal on that has nothing to do with it, and reaps what COMMAND leaves behind.
func TestRunPasses(t *testing.T) {
	s := supervised(t, nil, nil, "--ready", "10ms", "--", "sh", "-c",
		`trap 'echo got it' USR2; sh -c 'sleep 0.3 & echo orphan'; while :; do sleep 0.05; done`)
	s.has("orphan", 1)
	s.has("msg=serving", 1)
	s.signal(unix.SIGUSR2)
	s.has("got it", 1)
	s.eventually("only COMMAND is left", func() bool { return len(childrenOf(s.cmd.Process.Pid)) == 1 })
}

// TestRunNoStore: what COMMAND may not take for its own, since NOTIFY_SOCKET is not systemd's.
func TestRunNoStore(t *testing.T) {
	s := supervised(t, nil, []string{"FDSTORE=7", "WATCHDOG_USEC=1000000"}, "--", "sh", "-c", `echo "store $FDSTORE, watchdog $WATCHDOG_USEC."`)
	if status := s.ends(); status != 0 || !strings.Contains(s.said(), "store 0, watchdog .") {
		t.Errorf("status %d: %s", status, s.said())
	}
}

// TestCatch: a signal that comes before the command line is read waits for run, and for run alone.
func TestCatch(t *testing.T) {
	if catchForRun(nil) != nil || catchForRun([]string{"status", "run"}) != nil {
		t.Error("other commands catch signals")
	}
	signals := catchForRun([]string{"run"})
	defer signal.Stop(signals)
	for _, sig := range []syscall.Signal{unix.SIGHUP, unix.SIGTERM} {
		must(t, unix.Kill(os.Getpid(), sig))
		select {
		case got := <-signals:
			if got != sig {
				t.Errorf("%v, want %v", got, sig)
			}
		case <-time.After(patience):
			t.Fatalf("%v is lost", sig)
		}
	}
}

// TestRunForeignProc has the /proc of another PID namespace, in which its children are somebody else: it says so, and starts nothing.
func TestRunForeignProc(t *testing.T) {
	if os.Geteuid() != 0 {
		skip(t, "root, to make a PID namespace")
	}
	s := supervised(t, []string{"unshare", "--pid", "--fork", "--kill-child"}, nil, "--", "sleep", "3600")
	if status := s.ends(); status != 1 || !strings.Contains(s.said(), "mount /proc of this PID namespace") {
		t.Errorf("status %d: %s", status, s.said())
	}
}

// TestRunSlowExec: a file that cannot be executed replaces nobody, however short --ready is, and however long it takes to find out.
func TestRunSlowExec(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "server")
	script, err := filepath.Abs("testdata/server.py")
	must(t, err)
	must(t, os.WriteFile(file, []byte("#!/bin/sh\nexec python3 "+script+"\n"), 0o755))
	addr := freeAddr(t)
	s := supervised(t, nil, nil, "--listen", addr, "--ready", "1ns", "--", file)
	s.addr = addr
	s.has("msg=serving", 1)
	s.eventually("an answer", func() bool { return s.asks() != 0 })
	first := s.asks()
	broken := filepath.Join(dir, "new")
	must(t, os.WriteFile(broken, []byte("garbage"), 0o755))
	must(t, os.Rename(broken, file))
	for i := range 3 {
		s.signal(unix.SIGHUP)
		s.has("a new process ended before it was ready; the old one serves on", i+1)
	}
	if now := s.asks(); now != first {
		t.Errorf("process %d serves, and not the first one, %d", now, first)
	}
}

// TestRunContradiction gives it variables of systemd's that are not for it, or wrong.
func TestRunContradiction(t *testing.T) {
	s := supervised(t, nil, []string{"LISTEN_FDS=3", "LISTEN_PID=1"}, "--", "sh", "-c", "echo fds: $LISTEN_FDS.")
	if status := s.ends(); status != 0 || !strings.Contains(s.said(), "LISTEN_FDS is ignored") || !strings.Contains(s.said(), "fds: .") {
		t.Errorf("status %d: %s", status, s.said())
	}
	sh := []string{"sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=2 exec "$@" 3</dev/null`, "sh"}
	s = supervised(t, sh, nil, "--", "true")
	defer func() {
		sh := []string{"sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=a:b:c exec "$@"`, "sh"}
		s := supervised(t, sh, nil, "--", "true")
		if status := s.ends(); status != 1 || !strings.Contains(s.said(), "has 3 names") {
			t.Errorf("status %d: %s", status, s.said())
		}
	}()
	if status := s.ends(); status != 1 || !strings.Contains(s.said(), "descriptor 3 is no socket") {
		t.Errorf("status %d: %s", status, s.said())
	}
}
