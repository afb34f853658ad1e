package peer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/internal/kernel"
	"github.com/segue-go/segue/listener"
)

// A process with a role obeys the lines of its standard input, and answers each with a line. Descriptor 3 is one end of
// a socket pair, on which it introduces itself at the start.
const roleVar = "SEGUE_TEST_ROLE"

const (
	roleSpeaker  = "speaker"  // does as it is told: "exit N", "signal N"
	roleParent   = "parent"   // starts a speaker with the same descriptor 3, passes on lines, and reaps when told "reap"
	roleListener = "listener" // makes a Peer of who sends to it, and tells what Kill said
)

// patience bounds what should take no time at all.
const patience = 20 * time.Second

func runRole(role string) int {
	var err error
	switch role {
	case roleSpeaker:
		err = speak()
	case roleParent:
		err = parent()
	case roleListener:
		err = listen()
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "role", role+":", err)
		return 99
	}
	return 0
}

func inherited() (*net.UnixConn, error) {
	f := os.NewFile(3, "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), c.SetDeadline(time.Now().Add(patience))
}

func speak() error {
	c, err := inherited()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := fdpass.Send(c, []byte("hello")); err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var n int
		switch verb, arg, _ := strings.Cut(in.Text(), " "); verb {
		case "exit":
			if _, err := fmt.Sscan(arg, &n); err != nil {
				return err
			}
			os.Exit(n)
		case "signal":
			if _, err := fmt.Sscan(arg, &n); err != nil {
				return err
			}
			if err := unix.Kill(os.Getpid(), unix.Signal(n)); err != nil {
				return err
			}
			select {} // until it arrives
		default:
			return fmt.Errorf("cannot %q", in.Text())
		}
	}
	return in.Err()
}

func parent() error {
	f := os.NewFile(3, "socket")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVar+"="+roleSpeaker)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{f} // nothing of ours reads or writes it, so that O_NONBLOCK does not matter
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if in.Text() != "reap" {
			if _, err := fmt.Fprintln(stdin, in.Text()); err != nil {
				return err
			}
			continue
		}
		_ = cmd.Wait() // its status is what the test is about
		fmt.Println("reaped")
	}
	return in.Err()
}

func listen() error {
	c, err := inherited()
	if err != nil {
		return err
	}
	defer c.Close()
	// It may be queued already; the sender's end had credentials on.
	if err := fdpass.PassCred(c, true); err != nil && !errors.Is(err, errors.ErrUnsupported) { // before Linux 6.5
		return err
	}
	m, err := fdpass.Recv(c, make([]byte, 100))
	if err != nil {
		return err
	}
	defer m.Close()
	p, err := FromMessage(m)
	if has, _ := kernel.PassPidFD.Has(); !has {
		p, err = Candidate(m.Cred.PID, m.Cred.UID, m.Cred.GID)
		if err == nil {
			p.Heard(p.PID) // it is our parent
		}
	}
	if err != nil {
		return err
	}
	defer p.Close()
	fmt.Printf("pid %d self %v dead %v kill %v\n", p.PID, p.Self(), p.Dead(), p.Kill())
	return nil
}

// process is one that a test has started.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	conn   *net.UnixConn // our end
	pidfd  *listener.FD  // of cmd, as os/exec made it
}

// start starts a process and kills and reaps it at the end of the test, unless the test has done so.
func start(t *testing.T, role string, change func(*exec.Cmd)) *process {
	t.Helper()
	nums, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	mine, its := os.NewFile(uintptr(nums[0]), "socket"), os.NewFile(uintptr(nums[1]), "socket")
	defer mine.Close()
	defer its.Close()
	conn, err := net.FileConn(mine)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	p := &process{conn: conn.(*net.UnixConn)}
	if err := fdpass.PassCred(p.conn, true); err != nil && !errors.Is(err, errors.ErrUnsupported) { // before Linux 6.5
		t.Fatal(err)
	}

	pidfd := -1
	p.cmd = exec.CommandContext(t.Context(), "/proc/self/exe")
	p.cmd.Env = append(os.Environ(), roleVar+"="+role)
	p.cmd.Stderr = os.Stderr
	p.cmd.ExtraFiles = []*os.File{its}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &pidfd}
	if change != nil {
		change(p.cmd)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.pidfd = listener.NewFD(pidfd)
	t.Cleanup(func() {
		p.stdin.Close()
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		p.pidfd.Close()
	})
	return p
}

func (p *process) tell(t *testing.T, line string) {
	t.Helper()
	if _, err := fmt.Fprintln(p.stdin, line); err != nil {
		t.Fatal(err)
	}
}

// peer makes a Peer of who sent the next message.
func (p *process) peer(t *testing.T) *Peer {
	t.Helper()
	m, err := fdpass.Recv(p.conn, make([]byte, 100))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	got, err := FromMessage(m)
	if has, _ := kernel.PassPidFD.Has(); !has {
		if got, err = Candidate(m.Cred.PID, m.Cred.UID, m.Cred.GID); err == nil {
			got.Heard(got.PID) // nobody has reaped it
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := got.Close(); err != nil {
			t.Error(err)
		}
	})
	return got
}

func waitDone(t *testing.T, p *Peer) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatalf("%v does not die", p)
	}
}
