package fdpass

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

const (
	roleVar = "SEGUE_TEST_ROLE" // a process to take from; its value is the role
	dirVar  = "SEGUE_TEST_DIR"  // where it has its files
	userVar = "SEGUE_TEST_USER" // the process of asUser
	ordUser = 12345
)

// asUser runs body as an ordinary user: in a process of its own if this one is root's. That one runs this test only.
func asUser(t *testing.T, env []string, body func(t *testing.T)) {
	t.Helper()
	if os.Getuid() != 0 {
		body(t)
		return
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=50s")
	cmd.Env = append(append(os.Environ(), userVar+"=1"), env...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: ordUser, Gid: ordUser}, Pdeathsig: syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	t.Logf("as uid %d:\n%s", ordUser, out)
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("as uid %d: %v", ordUser, err)
	}
}

// bothUsers runs body in this process and as an ordinary user.
func bothUsers(t *testing.T, body func(t *testing.T)) {
	if os.Getuid() == 0 {
		body(t)
	}
	asUser(t, nil, body)
}

// target is a process that has something open, and lives until its standard input ends.
type target struct {
	cmd   *exec.Cmd
	stdin io.Closer
	pidfd *listener.FD
	has   map[string]int // numbers of descriptors by name
}

// What the target of role "target" has, beside what its environment asks for.
func runTarget() error {
	has := map[string]int{}
	dir := os.Getenv(dirVar) // of the test, since this process may be killed
	open := func(name, file string, flags int) error {
		n, err := unix.Open(file, flags|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		has[name] = n
		return nil
	}
	if err := errors.Join(
		open("file", dir+"/file", unix.O_RDWR|unix.O_APPEND),
		open("deleted", dir+"/deleted", unix.O_RDWR),
		open("secret", dir+"/secret", unix.O_RDWR),
		unix.Mkfifo(dir+"/fifo", 0o600),
		unix.Mkfifo(dir+"/unread", 0o600),
		unix.Chmod(dir+"/secret", 0),
		unix.Unlink(dir+"/deleted"),
	); err != nil {
		return err
	}
	var err error
	for name, flags := range map[string]int{"fifo": unix.O_RDWR, "unread": unix.O_RDONLY | unix.O_NONBLOCK} {
		if has[name], err = unix.Open(dir+"/"+name, flags|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
	}
	// A write end, which can be opened while there is a read end only.
	w, err := unix.Open(dir+"/unread", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	unix.Close(has["unread"])
	has["unread"] = w
	if has["null"], err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	if has["memfd"], err = unix.MemfdCreate("memfd", unix.MFD_CLOEXEC); err != nil {
		return err
	}
	if has["eventfd"], err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return err
	}
	for _, name := range []string{"file", "deleted", "memfd"} {
		if _, err := unix.Write(has[name], []byte(name)); err != nil {
			return err
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	fd, err := listener.Dup(ln.(*net.TCPListener))
	if err != nil {
		return err
	}
	has["socket"] = fd.Disown()
	if os.Getenv("SEGUE_TEST_DUMPABLE") == "0" {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(has); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func startTarget(t *testing.T, change func(*exec.Cmd)) *target {
	t.Helper()
	pidfd := -1
	p := &target{cmd: exec.CommandContext(t.Context(), "/proc/self/exe")}
	p.cmd.Env = append(os.Environ(), roleVar+"=target")
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &pidfd, Pdeathsig: syscall.SIGKILL}
	if change != nil {
		change(p.cmd)
	}
	dir, err := os.MkdirTemp("", "fdpass") // not t.TempDir: another user has no access there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if as := p.cmd.SysProcAttr.Credential; as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	p.cmd.Env = append(p.cmd.Env, dirVar+"="+dir)
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.pidfd = listener.NewFD(pidfd)
	t.Cleanup(func() { p.end(t) })
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&p.has); err != nil {
		t.Fatal(err)
	}
	return p
}

// end ends and reaps the process.
func (p *target) end(t *testing.T) {
	t.Helper()
	p.stdin.Close()
	p.pidfd.Close()
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Wait() // it may have been killed
	}
}

// zombie kills the process, and does not reap it.
func (p *target) zombie(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
}

func (p *target) open(t *testing.T) *Process {
	t.Helper()
	return openProcess(t, p.cmd.Process.Pid)
}

func openProcess(t *testing.T, pid int) *Process {
	t.Helper()
	p, err := OpenProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// link is what the target's descriptor is, as /proc says.
func (p *target) link(t *testing.T, name string) string {
	t.Helper()
	s, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.cmd.Process.Pid, p.has[name]))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// inode is the number in what link returns for a socket.
func (p *target) inode(t *testing.T, name string) uint64 {
	t.Helper()
	s := p.link(t, name)
	ino, err := strconv.ParseUint(strings.Trim(s, "socket:[]"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return ino
}

func runRole(role string) int {
	var err error
	switch role {
	case "target":
		err = runTarget()
	case "filtered":
		err = runFiltered()
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "role", role+":", err)
		return 99
	}
	return 0
}
