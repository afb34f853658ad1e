package handoff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/listener"
	"golang.org/x/sys/unix"
)

// envHandoff tells a spawned successor which descriptor is its end of a socket pair: "number:inode:path". The inode proves
// that the descriptor is the one that was meant, and not one that a wrapper has put in its place; the path says for which
// Generation of the process it is.
const envHandoff = "SEGUE_HANDOFF"

// inheritedConn takes the connection that a parent left for the Generation on path, or returns nil.
func inheritedConn(path string, log *slog.Logger) (*net.UnixConn, error) {
	value, ok := os.LookupEnv(envHandoff)
	if !ok {
		return nil, nil
	}
	number, rest, _ := strings.Cut(value, ":")
	inode, forPath, _ := strings.Cut(rest, ":")
	if forPath != path {
		log.Warn("SEGUE_HANDOFF is for another Generation; an upgrade cannot change Config.Path", "for", forPath, "path", path)
		return nil, nil
	}
	if err := os.Unsetenv(envHandoff); err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 3 {
		return nil, fmt.Errorf("%s=%q is not of our making; unset it", envHandoff, value)
	}
	var st unix.Stat_t
	if err := unix.Fstat(n, &st); err != nil || strconv.FormatUint(st.Ino, 10) != inode {
		return nil, nil // not for us: a process between the spawner and us closed it
	}
	domain, err1 := unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_DOMAIN)
	typ, err2 := unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_TYPE)
	_, err3 := unix.Getpeername(n) // an end whose other end is closed still has it (net/unix/af_unix.c)
	if err := errors.Join(err1, err2, err3); err != nil || domain != unix.AF_UNIX || typ != unix.SOCK_SEQPACKET {
		return nil, nil
	}
	unix.CloseOnExec(n)
	if err := unix.SetNonblock(n, true); err != nil {
		return nil, err
	}
	return sys.UnixConn(listener.NewFD(n))
}

// child is a successor that this process started.
type child struct {
	cmd    *exec.Cmd
	peer   *peer.Peer
	output *output
	stdout *os.File // where its output goes in the end; nil if it is not captured
	stderr *os.File
	pipes  []*os.File
	copies sync.WaitGroup

	reapOnce sync.Once
}

// spawn starts the successor and returns it with our end of the socket pair.
func (g *Generation) spawn(cmd *exec.Cmd) (*child, *net.UnixConn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := listener.NewFD(pair[0]), listener.NewFD(pair[1])
	defer theirs.Close()
	var st unix.Stat_t
	if err := sys.Control(theirs, func(n int) error { return unix.Fstat(n, &st) }); err != nil {
		_ = ours.Close()
		return nil, nil, os.NewSyscallError("fstat", err)
	}
	conn, err := sys.UnixConn(ours)
	if err != nil {
		return nil, nil, err
	}
	if err := fdpass.PassCred(conn, true); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	c := &child{cmd: cmd, output: &output{}}
	if c.cmd == nil {
		_ = conn.Close()
		return nil, nil, errors.New("Config.Command returned no command")
	}
	if err := c.start(theirs.File("segue"), fmt.Sprintf("%d:%s", st.Ino, g.cfg.Path)); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return c, conn, nil
}

// command is Config.Command, or this program as it was started. What the former leaves out of its environment is that of
// Join too.
func (g *Generation) command() *exec.Cmd {
	if g.cfg.Command == nil {
		return g.origin.command(g.log)
	}
	cmd := g.cfg.Command()
	if cmd == nil {
		return nil
	}
	if cmd.Env == nil {
		cmd.Env = slices.Clone(g.origin.env)
	}
	return cmd
}

// outlive takes from a command what would end a successor together with this process: it serves when this one is gone.
func outlive(cmd *exec.Cmd) {
	attr := syscall.SysProcAttr{}
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr // the program may use its own again
	}
	attr.Pdeathsig = 0
	if !attr.Setsid && !attr.Setpgid && !attr.Foreground && leadsTerminal() {
		attr.Setpgid = true
	}
	cmd.SysProcAttr = &attr
	if cmd.Cancel != nil { // exec.CommandContext: what ends a successor that does not own yet is the context of Upgrade
		cmd.Cancel = func() error { return os.ErrProcessDone }
		cmd.WaitDelay = 0
	}
}

// leadsTerminal reports whether the kernel hangs the terminal up when this process ends: the processes in the foreground,
// to which a successor would belong, get SIGHUP then (setpgid(2); the kernel's drivers/tty/tty_jobctrl.c: disassociate_ctty).
func leadsTerminal() bool {
	if sid, err := unix.Getsid(0); err != nil || sid != os.Getpid() {
		return false
	}
	tty, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) // ENXIO: there is none
	if err == nil {
		_ = unix.Close(tty)
	}
	return err == nil
}

// start takes theirs.
func (c *child) start(theirs *os.File, env string) (err error) {
	defer theirs.Close()
	var ends []*os.File // of the pipes, the child's
	defer func() {
		for _, f := range ends {
			_ = f.Close()
		}
		if err != nil {
			c.closePipes()
		}
	}()
	capture := func(w *io.Writer, own *os.File) *os.File {
		to, isFile := (*w).(*os.File)
		if *w == nil {
			to, isFile = own, true
		}
		if isFile && to != nil {
			if _, statErr := to.Stat(); errors.Is(statErr, os.ErrClosed) {
				*w = nil // as it is for this process: nowhere
				return nil
			}
		}
		if !isFile || to == nil || err != nil {
			return nil // a Writer of the program's: exec copies to it while this process lives
		}
		var r, pw *os.File
		if r, pw, err = os.Pipe(); err != nil {
			return nil
		}
		c.pipes, ends = append(c.pipes, r), append(ends, pw)
		*w = pw
		return to
	}
	c.stdout = capture(&c.cmd.Stdout, os.Stdout)
	c.stderr = capture(&c.cmd.Stderr, os.Stderr)
	if err != nil {
		return err
	}
	c.cmd.ExtraFiles = append(c.cmd.ExtraFiles, theirs)
	c.cmd.Env = append(c.cmd.Env, fmt.Sprintf("%s=%d:%s", envHandoff, 2+len(c.cmd.ExtraFiles), env))
	pidfd := -1
	outlive(c.cmd)
	c.cmd.SysProcAttr.PidFD = &pidfd
	if err = c.cmd.Start(); err != nil {
		return fmt.Errorf("start the successor: %w", explainStart(c.cmd, err))
	}
	fd := listener.NewFD(pidfd)
	c.peer, err = peer.FromPidFD(fd, c.cmd.Process.Pid, uint32(os.Geteuid()), uint32(os.Getegid()))
	if err != nil {
		_ = fd.Close()
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
		return fmt.Errorf("watch the successor: %w", err)
	}
	for i, to := range []*os.File{c.stdout, c.stderr} {
		if to == nil {
			continue
		}
		from := c.pipes[0]
		if i == 1 {
			from = c.pipes[len(c.pipes)-1]
		}
		c.copies.Go(func() { _, _ = io.Copy(io.MultiWriter(c.output, ignoreErrors{to}), from) })
	}
	return nil
}

// end makes sure that a child whose attempt failed is gone, and returns why, with what it left.
func (c *child) end(cause error, grace time.Duration) error {
	if !c.peer.Await(context.Background(), grace) {
		_ = c.peer.Kill()
		<-c.peer.Done()
	}
	c.reap()
	return &ChildError{State: c.cmd.ProcessState, Output: c.output.String(), Err: cause}
}

// reap collects a child that is dead, and what is left of its output.
func (c *child) reap() {
	c.reapOnce.Do(func() {
		// Somebody whom it started may hold the pipes open; what a dead child wrote itself is there already.
		for _, p := range c.pipes {
			_ = p.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		}
		c.copies.Wait()
		_ = c.cmd.Wait() // the state says more than the error
		_ = c.peer.Close()
		c.closePipes()
	})
}

// leave lets a child live on that has become the owner.
func (c *child) leave() {
	if c.peer.Dead() {
		c.reap()
		return
	}
	c.reapOnce.Do(func() {
		// Its output has been replaced by our own since it owns (see replaceOutput).
		for _, p := range c.pipes {
			_ = p.SetReadDeadline(time.Now())
		}
		c.copies.Wait()
		c.closePipes()
		_ = c.peer.Close()
		_ = c.cmd.Process.Release()
	})
}

func (c *child) closePipes() {
	for _, p := range c.pipes {
		_ = p.Close()
	}
}

// output keeps the last of what a child prints.
type output struct {
	mu sync.Mutex
	b  []byte
}

const keptOutput = 4 << 10

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b = append(o.b, p...)
	if n := len(o.b) - keptOutput; n > 0 {
		o.b = append(o.b[:0], o.b[n:]...)
	}
	return len(p), nil
}

// String returns whole lines, except for one that alone is longer than what is kept.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.b
	if len(b) == keptOutput {
		if i := bytes.IndexByte(b, '\n'); i >= 0 && i+1 < len(b) {
			b = b[i+1:]
		}
	}
	return strings.TrimRight(string(b), "\n")
}

// ignoreErrors goes on when our own standard output is gone, for the child's sake.
type ignoreErrors struct{ w io.Writer }

func (i ignoreErrors) Write(p []byte) (int, error) {
	_, _ = i.w.Write(p)
	return len(p), nil
}
