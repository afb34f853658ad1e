package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRunShell has a COMMAND that is a shell, which waits for a server and passes no signals on. The old server drains all the
// same, and is awaited, when it is replaced and when all ends.
func TestRunShell(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		skip(t, "python3")
	}
	addr, mark := freeAddr(t), fmt.Sprintf("mark-%d", os.Getpid())
	s := supervised(t, nil, nil, "--listen", addr, "--ready", "notify", "--", "sh", "-c", `sh -c 'LISTEN_PID=$$ exec python3 testdata/server.py `+mark+`'; :`)
	s.addr = addr
	s.has("msg=serving", 1)
	s.loaded(2, func() {
		for i := range 3 {
			s.signal(unix.SIGHUP)
			s.has("msg=serving", 2+i)
			s.has("a process has drained", 1+i)
		}
	})
	if left := withArgument(mark); len(left) != 1 {
		t.Errorf("%d servers are left: %v", len(left), left)
	}
	must(t, unix.Kill(s.pid(), unix.SIGKILL)) // the shell only
	s.has("msg=serving", 5)
	s.has("a process has drained", 4)

	answered := make(chan error, 1)
	c, err := net.Dial("tcp", addr)
	must(t, err)
	defer c.Close()
	_, err = c.Write([]byte("GET /?ms=1000&token=whole HTTP/1.1\r\nHost: x\r\n\r\n"))
	must(t, err)
	s.eventually("it is accepted", func() bool { return s.asks() != 0 })
	go func() {
		b, err := io.ReadAll(c)
		if !strings.Contains(string(b), "whole") {
			err = errors.Join(errors.New("no answer"), err)
		}
		answered <- err
	}()
	s.signal(unix.SIGTERM)
	if err := <-answered; err != nil {
		t.Errorf("a request in flight when it is stopped: %v", err)
	}
	if status := s.ends(); status != 128+int(unix.SIGTERM) {
		t.Errorf("status %d", status)
	}
}

// TestRunUnread has a standard error that nobody reads, and that is full: it goes on with its work, and ends.
func TestRunUnread(t *testing.T) {
	var pipe [2]int
	must(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	defer unix.Close(pipe[0])
	for {
		if _, err := unix.Write(pipe[1], make([]byte, 4096)); err != nil {
			break
		}
	}
	must(t, unix.SetNonblock(pipe[1], false))
	full := os.NewFile(uintptr(pipe[1]), "pipe")
	defer full.Close()
	s := supervisedTo(t, full, "python3", "testdata/server.py")
	s.eventually("an answer", func() bool { return s.asks() != 0 })
	for range 3 {
		before := s.asks()
		s.signal(unix.SIGHUP)
		s.eventually("another process", func() bool { now := s.asks(); return now != 0 && now != before })
	}
	s.signal(unix.SIGTERM)
	if status := s.ends(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// supervisedTo starts "segue run" for command, with a standard error that nobody reads. It is killed when the test ends.
func supervisedTo(t *testing.T, stderr *os.File, command ...string) *supervisor {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	s := &supervisor{t: t, addr: freeAddr(t), done: make(chan struct{})}
	s.cmd = exec.Command(exe, append([]string{"run", "--listen", s.addr, "--ready", "notify", "--"}, command...)...)
	s.cmd.Env = append(os.Environ(), envRole+"=segue")
	s.cmd.Stderr = stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	must(t, s.cmd.Start())
	go func() { _ = s.cmd.Wait(); close(s.done) }()
	t.Cleanup(func() { _ = s.cmd.Process.Kill(); <-s.done })
	return s
}

// TestRunClosed has a standard error whose reader has gone: it goes on with its work, and ends well. COMMAND does not ignore SIGPIPE.
func TestRunClosed(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	must(t, r.Close())
	defer w.Close()
	status := filepath.Join(t.TempDir(), "status")
	s := supervisedTo(t, w, "sh", "-c", "cat /proc/$$/status >"+status+"; exec python3 testdata/server.py")
	s.eventually("an answer", func() bool { return s.asks() != 0 })
	before := s.asks()
	s.signal(unix.SIGHUP)
	s.eventually("another process", func() bool { now := s.asks(); return now != 0 && now != before })
	b, err := os.ReadFile(status)
	must(t, err)
	for line := range strings.Lines(string(b)) {
		if mask, ok := strings.CutPrefix(line, "SigIgn:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			must(t, err)
			if set&(1<<(unix.SIGPIPE-1)) != 0 {
				t.Error("COMMAND ignores SIGPIPE")
			}
		}
	}
	s.signal(unix.SIGTERM)
	if status := s.ends(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// TestRunUnheard has a NOTIFY_SOCKET that nobody reads, and that is full.
func TestRunUnheard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	defer conn.Close()
	fill, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	defer fill.Close()
	for {
		must(t, fill.SetWriteDeadline(time.Now().Add(10*time.Millisecond)))
		if _, err := fill.Write([]byte("x")); err != nil {
			break
		}
	}
	s := python(t, []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=3000"}, "--ready", "notify")
	s.has("msg=serving", 1)
	for i := range 5 {
		s.signal(unix.SIGHUP)
		s.has("msg=serving", 2+i)
	}
	s.signal(unix.SIGTERM)
	if status := s.ends(); status != 0 {
		t.Errorf("status %d", status)
	}
	s.has("was not told what it does", 1)
}

// TestRunStalePath starts several at once on a path that a dead process has left: one gets it, and the others say so and end.
func TestRunStalePath(t *testing.T) {
	for range 5 {
		dir, err := os.MkdirTemp("", "segue")
		must(t, err)
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "s")
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		must(t, err)
		ln.SetUnlinkOnClose(false)
		must(t, ln.Close())
		var all []*supervisor
		for range 4 {
			all = append(all, supervised(t, nil, nil, "--listen", path, "--ready", "10ms", "--", "sleep", "3600"))
		}
		serve := 0
		for _, s := range all {
			s.eventually("it serves, or has ended", func() bool {
				return strings.Contains(s.said(), "msg=serving") || strings.Contains(s.said(), "address already in use")
			})
			if strings.Contains(s.said(), "msg=serving") {
				serve++
			} else if status := s.ends(); status != 1 {
				t.Errorf("status %d", status)
			}
		}
		if serve != 1 {
			t.Errorf("%d processes serve at one path", serve)
		}
		c, err := net.Dial("unix", path)
		must(t, err)
		_ = c.Close()
	}
}

// TestRunOtherUser has a COMMAND that changes its user, and may not be looked at, as in a container without CAP_SYS_PTRACE.
func TestRunOtherUser(t *testing.T) {
	const python = "/usr/bin/python3" // others may be in a home directory
	if _, err := os.Stat(python); err != nil || os.Geteuid() != 0 {
		skip(t, "root, and "+python)
	}
	if _, err := exec.LookPath("setpriv"); err != nil {
		skip(t, "setpriv")
	}
	code, err := os.ReadFile("testdata/server.py")
	must(t, err)
	contained := []string{"setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"}
	user := []string{"setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"}
	for _, ready := range []string{"tcp", "http:/token"} {
		t.Run(ready, func(t *testing.T) {
			addr := freeAddr(t)
			args := append([]string{"--listen", addr, "--ready", ready, "--"}, user...)
			s := supervised(t, contained, []string{"SILENT=1"}, append(args, python, "-c", string(code))...)
			s.addr = addr
			s.replaced()
		})
	}
}

// TestRunOtherUserJoins: with a rendezvous in a directory of its user, COMMAND of another user can reach what it needs.
func TestRunOtherUserJoins(t *testing.T) {
	if os.Geteuid() != 0 {
		skip(t, "root")
	}
	dir, err := os.MkdirTemp("", "segue")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chown(dir, 12345, 12345))
	exe := filepath.Join(dir, "program") // that of the test is in a directory of root's
	must(t, copyFile(exe, "/proc/self/exe"))
	must(t, os.Chmod(exe, 0o755))
	addr := freeAddr(t)
	s := supervised(t, nil, nil, "--rendezvous", dir+"/s", "--", "setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups",
		"env", envRole+"=server", exe, addr)
	s.addr = addr
	s.has("msg=serving", 1)
	for i := range 2 {
		before := s.asks()
		s.signal(unix.SIGHUP)
		s.has("msg=serving", 2+i)
		if now := s.asks(); now == before || now == 0 {
			t.Errorf("process %d serves, as before", now)
		}
	}
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755) //nolint:gosec // others are to execute it
}
