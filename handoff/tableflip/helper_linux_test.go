package tableflip_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait; none comes near it unless a test fails.
const patience = time.Minute

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
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

// service is a program, see programs_linux_test.go, in all its generations.
type service struct {
	t       *testing.T
	dir     string
	address string
	first   int // the process that the test started, and the group of all of them
	lines   chan string
	hub     chan string // what its processes write to the one connection that they have from each other
	now     int         // the process that serves
	flips   map[int]bool

	mu     sync.Mutex
	output strings.Builder
}

// deploy installs a version, and starts it.
func deploy(t *testing.T, version string) *service {
	t.Helper()
	dir, err := os.MkdirTemp("", "flip") // short, because it is for sockets
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	hub, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &service{t: t, dir: dir, address: free.Addr().String(), lines: make(chan string, 1000), hub: make(chan string, 1000),
		flips: map[int]bool{}}
	_ = free.Close()
	s.write("address", s.address)
	s.write("hub", hub.Addr().String())
	s.install(version)

	r, w, err := os.Pipe()
	must(t, err)
	cmd := exec.Command("/proc/self/exe", dir)
	cmd.Args[0] = os.Args[0]
	cmd.Path, err = filepath.Abs(os.Args[0])
	must(t, err)
	cmd.Env = append(os.Environ(), envRole+"=program", "GOCOVERDIR="+os.TempDir())
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, cmd.Start())
	_ = w.Close()
	s.first = cmd.Process.Pid
	must(t, cmd.Process.Release()) // it is waited for as the others are
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(s.lines)
		for scan := bufio.NewScanner(r); scan.Scan(); {
			s.mu.Lock()
			fmt.Fprintln(&s.output, scan.Text())
			s.mu.Unlock()
			s.lines <- scan.Text()
		}
	})
	reading.Go(func() {
		defer close(s.hub)
		c, err := hub.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for scan := bufio.NewScanner(c); scan.Scan(); {
			s.hub <- scan.Text()
		}
	})
	t.Cleanup(func() {
		_ = unix.Kill(-s.first, unix.SIGKILL)
		until(t, "all processes are reaped", func() bool {
			_, err := unix.Wait4(-s.first, nil, unix.WNOHANG, nil)
			return err == unix.ECHILD
		})
		_ = hub.Close()
		reading.Wait()
		_ = r.Close()
		if t.Failed() {
			t.Logf("they printed:\n%s", s.output.String())
		}
	})
	kind, _, _ := strings.Cut(version, " ")
	s.serves(kind)
	return s
}

func (s *service) write(name, text string) {
	s.t.Helper()
	must(s.t, os.WriteFile(filepath.Join(s.dir, name+".new"), []byte(text), 0o600))
	must(s.t, os.Rename(filepath.Join(s.dir, name+".new"), filepath.Join(s.dir, name)))
}

// install installs a version, which the next process is.
func (s *service) install(version string) { s.write("version", version) }

// line waits for a line that begins with prefix, and returns what follows.
func (s *service) line(prefix string) string {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case l, ok := <-s.lines:
			if !ok {
				s.t.Fatalf("all have ended, and none has printed %q", prefix)
			}
			if rest, ok := strings.CutPrefix(l, prefix); ok {
				return strings.TrimSpace(rest)
			}
		case <-timeout:
			s.t.Fatalf("nobody prints %q", prefix)
		}
	}
}

// serves waits until a process of a kind serves, and checks what it has from the one before.
func (s *service) serves(kind string) {
	s.t.Helper()
	if kind == "segue" {
		if v := s.line("sentinel"); v != "" {
			s.t.Errorf("the environment says %q: later children think that they have a parent on tableflip", v)
		}
	}
	pid, err := strconv.Atoi(s.line("serving " + kind))
	must(s.t, err)
	s.now = pid
	s.flips[pid] = kind == "tableflip"
	select {
	case l := <-s.hub:
		if l != strconv.Itoa(pid) {
			s.t.Errorf("process %d serves, and %q has the connection", pid, l)
		}
	case <-time.After(patience):
		s.t.Fatal("the connection was not handed over")
	}
	until(s.t, "the PID file names it", func() bool {
		b, _ := os.ReadFile(filepath.Join(s.dir, "pid"))
		return strings.TrimSpace(string(b)) == strconv.Itoa(pid)
	})
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	must(s.t, err)
	if n := strings.Count(string(b), "\n"); n != len(s.flips) || !strings.HasSuffix(string(b), fmt.Sprintln(kind, pid)) {
		s.t.Errorf("after %d processes the log is:\n%s", len(s.flips), b)
	}
}

// signal tells the process that serves.
func (s *service) signal(sig syscall.Signal) {
	s.t.Helper()
	must(s.t, unix.Kill(s.now, sig))
}

// becomes installs a version and has it take over, by a signal. The process before has to end well.
func (s *service) becomes(version string, sig syscall.Signal) {
	s.t.Helper()
	s.install(version)
	before := s.now
	s.signal(sig)
	s.serves(version)
	s.ends(before)
	if version == "segue" { // at once, if its parent is none
		if v := s.line("parent ended"); v != "<nil>" {
			s.t.Errorf("waiting for the end of the parent: %s", v)
		}
	}
}

// ends waits for a process.
func (s *service) ends(pid int) {
	s.t.Helper()
	var status unix.WaitStatus
	until(s.t, fmt.Sprintf("process %d ends", pid), func() bool {
		got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
		return err == nil && got == pid // before, it may be the child of another one
	})
	if !status.Exited() || status.ExitStatus() != 0 {
		s.t.Errorf("process %d ended with %#x", pid, status)
	}
}

// stops ends the service for good, and looks what is left.
func (s *service) stops() {
	s.t.Helper()
	s.signal(unix.SIGTERM)
	s.ends(s.now)
	left, err := os.ReadDir(s.dir)
	must(s.t, err)
	for _, f := range left {
		if f.Type() == os.ModeSocket {
			s.t.Errorf("left %s", f.Name())
		}
	}
}

// asks sends a request by a connection of its own, and returns who answers.
func (s *service) asks(network, address string) int {
	s.t.Helper()
	c, err := net.DialTimeout(network, address, patience)
	must(s.t, err)
	defer c.Close()
	must(s.t, c.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(c, "GET /token?token=x HTTP/1.0\r\n\r\n")
	must(s.t, err)
	b, err := io.ReadAll(c)
	must(s.t, err)
	_, rest, _ := strings.Cut(string(b), "X-Segue-Pid: ")
	pid, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]))
	must(s.t, err)
	return pid
}
