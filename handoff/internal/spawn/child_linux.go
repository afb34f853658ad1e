package spawn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/listener"
)

// Child is a successor that this process started.
type Child struct {
	Peer   *peer.Peer // the process, by the pidfd of clone(2)
	Stdout *os.File   // where its output goes in the end; nil if it is not captured
	Stderr *os.File

	cmd    *exec.Cmd
	alone  bool // its messages come without pidfds
	beside bool // it is a child of this process's parent, who alone can wait for it
	ended  bool
	exit   *peer.Exit
	output lastLines
	pipes  []*os.File
	copies sync.WaitGroup

	reapOnce sync.Once
}

// Start starts the successor of the Generation on path, and returns it with our end of the socket pair. If beside is true,
// it is a child of this process's parent (CLONE_PARENT, clone(2)). Either [Child.End] or [Child.Release] must follow.
func Start(cmd *exec.Cmd, path string, beside bool) (*Child, *net.UnixConn, error) {
	if cmd == nil {
		return nil, nil, errors.New("Config.Command returned no command")
	}
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
	c := &Child{cmd: cmd, beside: beside}
	pidfds, err := peer.PassCred(conn)
	c.alone = !pidfds
	if err == nil {
		err = c.start(theirs.File("segue"), fmt.Sprintf("%d:%s", st.Ino, path))
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return c, conn, nil
}

// PID is the number of the process.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Expected returns another Peer of the child, for who is to speak on a link whose messages come without pidfds; nil if they come
// with them.
func (c *Child) Expected() *peer.Peer {
	if !c.alone {
		return nil
	}
	p, err := c.Peer.Again()
	if err != nil {
		return nil // it is opened by its number then
	}
	return p
}

// State says how the process ended; nil if [Child.End] has not returned yet, or if the process is beside this one.
func (c *Child) State() *os.ProcessState { return c.cmd.ProcessState }

// Exit says whether [Child.End] has seen the process dead, and how it ended: nil if the kernel does not tell, which tells of a
// process that is beside this one from Linux 6.15 on.
func (c *Child) Exit() (ended bool, exit *peer.Exit) { return c.ended, c.exit }

// LastLines are the last lines of its output.
func (c *Child) LastLines() string { return c.output.String() }

// start takes theirs.
func (c *Child) start(theirs *os.File, env string) (err error) {
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
	c.Stdout = capture(&c.cmd.Stdout, os.Stdout)
	c.Stderr = capture(&c.cmd.Stderr, os.Stderr)
	if err != nil {
		return err
	}
	c.cmd.ExtraFiles = append(c.cmd.ExtraFiles, theirs)
	c.cmd.Env = append(c.cmd.Env, fmt.Sprintf("%s=%d:%s", envConn, 2+len(c.cmd.ExtraFiles), env))
	pidfd := -1
	outlive(c.cmd)
	c.cmd.SysProcAttr.PidFD = &pidfd
	if c.beside {
		c.cmd.SysProcAttr.Cloneflags |= unix.CLONE_PARENT
	}
	if err = c.cmd.Start(); err != nil {
		return fmt.Errorf("start the successor: %w", explainStart(c.cmd, err))
	}
	fd := listener.NewFD(pidfd)
	c.Peer, err = peer.FromPidFD(fd, c.cmd.Process.Pid, uint32(os.Geteuid()), uint32(os.Getegid()))
	if err != nil {
		_ = fd.Close()
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
		return fmt.Errorf("watch the successor: %w", err)
	}
	for i, to := range []*os.File{c.Stdout, c.Stderr} {
		if to == nil {
			continue
		}
		from := c.pipes[0]
		if i == 1 {
			from = c.pipes[len(c.pipes)-1]
		}
		c.copies.Go(func() { _, _ = io.Copy(io.MultiWriter(&c.output, ignoreErrors{to}), from) })
	}
	return nil
}

// End makes sure that a child whose attempt failed is gone: after grace it is killed.
func (c *Child) End(grace time.Duration) {
	if !c.Peer.Await(context.Background(), grace) {
		_ = c.Peer.Kill()
		<-c.Peer.Done()
	}
	c.ended = true
	c.learnExit()
	c.reap()
}

// learnExit waits until the parent has reaped a process that is beside this one: before, nobody else is told how it ended.
func (c *Child) learnExit() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if e, ok := c.Peer.WaitExit(ctx); ok {
		c.exit = &e
	}
}

// reap collects a child that is dead, and what is left of its output.
func (c *Child) reap() {
	c.reapOnce.Do(func() {
		// A process that it started may hold the pipes open; what a dead child wrote itself is there already.
		for _, p := range c.pipes {
			_ = p.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		}
		c.copies.Wait()
		_ = c.cmd.Wait() // the state says more than the error
		_ = c.Peer.Close()
		c.closePipes()
	})
}

// Release lets a child live on that has become the owner. One that is dead is collected.
func (c *Child) Release() {
	if c.Peer.Dead() {
		c.reap()
		return
	}
	c.reapOnce.Do(func() {
		// Its output has been replaced by our own since it owns (see Stdio.Replace).
		for _, p := range c.pipes {
			_ = p.SetReadDeadline(time.Now())
		}
		c.copies.Wait()
		c.closePipes()
		_ = c.Peer.Close()
		_ = c.cmd.Process.Release()
	})
}

func (c *Child) closePipes() {
	for _, p := range c.pipes {
		_ = p.Close()
	}
}
