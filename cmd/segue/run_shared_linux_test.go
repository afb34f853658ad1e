package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sharing has "segue run" on one rendezvous, one after the other, as in containers that share a directory.
type sharing struct {
	t         *testing.T
	dir, addr string
}

func newSharing(t *testing.T) sharing {
	t.Helper()
	dir, err := os.MkdirTemp("", "segue") // a short name
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return sharing{t, dir, freeAddr(t)}
}

// start starts one, and waits until its program serves. Its ready file has its name.
func (s sharing) start(name string, flags ...string) *supervisor {
	s.t.Helper()
	exe, err := os.Executable()
	must(s.t, err)
	flags = append(flags, "--rendezvous", s.dir+"/s", "--ready-file", filepath.Join(s.dir, name), "--", "env", envRole+"=server", exe, s.addr)
	run := supervised(s.t, nil, nil, flags...)
	run.addr = s.addr
	run.eventually("the file of "+name, func() bool { return s.ready(name) })
	return run
}

func (s sharing) ready(name string) bool {
	_, err := os.Stat(filepath.Join(s.dir, name))
	return err == nil
}

// pid is the process that one has started last.
func (s *supervisor) pid() int {
	s.t.Helper()
	said := s.said()
	_, after, _ := strings.Cut(said[strings.LastIndex(said, "msg=started"):], "pid=")
	pid, err := strconv.Atoi(strings.Fields(after)[0])
	must(s.t, err)
	return pid
}

// busy has the server answer a request for as long as the test lasts.
func (s *supervisor) busy() {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	must(s.t, err)
	s.t.Cleanup(func() { _ = c.Close() })
	_, err = c.Write([]byte("GET /?ms=600000 HTTP/1.1\r\nHost: x\r\n\r\n"))
	must(s.t, err)
}

// TestRunUntold: a process that serves at the rendezvous, and could not write the PID file, is not killed for that.
func TestRunUntold(t *testing.T) {
	s := supervised(t, nil, nil, "--ready", "joined", "--ready-timeout", "4s", "--", "python3", "-c", `
import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.bind(os.environ["SEGUE_RENDEZVOUS"] + ".control")
s.listen()
time.sleep(3600)`)
	s.has("has not written the PID file", 1)
	s.has("msg=serving", 1)
	s.signal(unix.SIGTERM)
	if status := s.ends(); status != 128+int(unix.SIGTERM) {
		t.Errorf("status %d", status)
	}
}

// TestRunDisplaced kills a program that has handed over to another container, while it drains: that is no crash. It is not
// started again, or it would take over in its turn.
func TestRunDisplaced(t *testing.T) {
	for _, flags := range [][]string{{"--stay"}, nil} {
		t.Run(strings.Join(append(flags, "run"), " "), func(t *testing.T) {
			s := newSharing(t)
			first := s.start("first", flags...)
			first.busy()
			old := first.pid()
			second := s.start("second", flags...)
			first.has("another process has taken over at the rendezvous", 1)
			first.eventually("no file of the first", func() bool { return !s.ready("first") })
			first.signal(unix.SIGHUP)
			first.has("SIGHUP is refused", 1)
			must(t, unix.Kill(old, unix.SIGKILL))
			second.loaded(1, func() {
				if len(flags) > 0 {
					first.has("stays until SIGTERM", 1)
					first.signal(unix.SIGTERM)
				}
				if status := first.ends(); status != 128+int(unix.SIGKILL) {
					t.Errorf("the first: status %d", status)
				}
			})
			if n := strings.Count(first.said(), "msg=started"); n != 1 {
				t.Errorf("the first has started %d processes", n)
			}
			if now := second.asks(); now != second.pid() {
				t.Errorf("process %d serves", now)
			}
		})
	}
}

// TestRunDisplacedRevived: the other container's program dies within the guard, and the old one serves again.
func TestRunDisplacedRevived(t *testing.T) {
	s := newSharing(t)
	first := s.start("first", "--stay")
	second := s.start("second", "--stay", "--restarts", "0")
	first.has("another process has taken over at the rendezvous", 1)
	must(t, unix.Kill(second.pid(), unix.SIGKILL))
	first.has("an older process serves again", 1)
	first.eventually("the file of the first", func() bool { return s.ready("first") })
	if now := first.asks(); now != first.pid() {
		t.Errorf("process %d serves", now)
	}
	first.signal(unix.SIGHUP) // and all is as before
	first.has("msg=serving", 2)
}

// TestRunTaken: a program that crashes is not started again if another container's has come to the rendezvous meanwhile.
func TestRunTaken(t *testing.T) {
	s := newSharing(t)
	first := s.start("first", "--stay")
	must(t, unix.Kill(first.cmd.Process.Pid, unix.SIGSTOP)) // it sees nothing
	must(t, unix.Kill(first.pid(), unix.SIGKILL))
	second := s.start("second", "--stay")
	must(t, unix.Kill(first.cmd.Process.Pid, unix.SIGCONT))
	first.has("COMMAND has ended", 1)
	first.has("is not started again: another process serves at the rendezvous", 1)
	if now := second.asks(); now != second.pid() {
		t.Errorf("process %d serves", now)
	}
	first.signal(unix.SIGTERM)
	if status := first.ends(); status != 128+int(unix.SIGKILL) {
		t.Errorf("status %d", status)
	}
}
