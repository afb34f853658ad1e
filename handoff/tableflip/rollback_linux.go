package tableflip

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/internal/hook"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/internal/startenv"
	"github.com/segue-go/segue/listener"
)

func rollback(ctx context.Context, gen *handoff.Generation, o RollbackOptions) error {
	var c *child
	err := hook.UpgradeTo(ctx, gen, func(ctx context.Context, cmd *exec.Cmd, lent []hook.Lent) error {
		if o.Command != nil {
			o.Command(cmd)
		}
		files, err := collect(lent, o.Conns)
		if err != nil {
			return err
		}
		defer files.close()
		defer keepPaths(files.keys)()
		started, err := start(cmd, files)
		if err != nil {
			return err
		}
		c = started
		if err := c.awaitReady(ctx); err != nil {
			return c.end(err)
		}
		return nil
	})
	switch {
	case c == nil || c.ended:
		return err
	case err != nil: // it is ready, and gen did not let go
		return c.end(err)
	}
	c.leave()
	return nil
}

// files are copies of what is handed over, with their keys.
type files struct {
	keys  []key
	files []*os.File
}

func (f *files) close() {
	for _, file := range f.files {
		_ = file.Close()
	}
}

func collect(lent []hook.Lent, conns []Conn) (f *files, err error) {
	f = &files{}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	for _, l := range lent {
		if err := f.add(keyOf(l.Name, l.Network, l.Address), l.Conn); err != nil {
			return f, err
		}
	}
	for _, c := range conns {
		if err := f.add(key{connKind, c.Network, c.Address}, c.Conn); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (f *files) add(k key, c syscall.Conn) error {
	if slices.Contains(f.keys, k) {
		return fmt.Errorf("there are several of %s, of which tableflip knows one; close the others", k)
	}
	fd, err := listener.Dup(c)
	if err != nil {
		return fmt.Errorf("%s: %w", k, err)
	}
	// The file leaves O_NONBLOCK alone, which all who have the socket share.
	f.keys, f.files = append(f.keys, k), append(f.files, fd.File(k.String()))
	return nil
}

// child is a process that was started as tableflip does it.
type child struct {
	cmd   *exec.Cmd
	peer  *peer.Peer
	ready *os.File      // on which it says that it is
	names *os.File      // on which it hears the names of its files
	lives *listener.FD  // the same: it ends with this process
	told  chan struct{} // closed when it has heard them, or will not
	ended bool
}

// start starts cmd with what tableflip's startChild gives it.
func start(cmd *exec.Cmd, f *files) (*child, error) {
	if len(cmd.ExtraFiles) > 0 {
		return nil, errors.New("the command has ExtraFiles, whose numbers are tableflip's")
	}
	for _, f := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		if _, isFile := f.(*os.File); f != nil && !isFile {
			return nil, errors.New("the command's standard input, output and error must be files, since this process ends before it")
		}
	}
	c := &child{cmd: cmd, told: make(chan struct{})}
	if err := c.start(f); err != nil {
		close(c.told)
		c.close()
		return nil, err
	}
	names := make([][]string, 0, len(f.keys)) // gob refuses nil
	for _, k := range f.keys {
		names = append(names, k.parts())
	}
	go c.tell(names)
	return c, nil
}

func (c *child) start(f *files) (err error) {
	cmd := c.cmd
	var theirs [2]*os.File
	defer func() {
		for _, file := range theirs {
			_ = file.Close()
		}
	}()
	if c.ready, theirs[0], err = pipes("ready"); err != nil {
		return err
	}
	if theirs[1], c.names, err = pipes("names"); err != nil {
		return err
	}
	if c.lives, err = listener.Dup(c.names); err != nil {
		return err
	}
	cmd.ExtraFiles = append(theirs[:], f.files...)
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	ino, err := inode(theirs[1])
	if err != nil {
		return err
	}
	cmd.Env = append(startenv.Without(cmd.Env, sentinel, rolledBack), sentinel+"=yes", rolledBack+"="+ino)
	if cmd.Stdin == nil {
		cmd.Stdin = os.Stdin
	}
	if cmd.Stdout == nil {
		cmd.Stdout = os.Stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	attr := syscall.SysProcAttr{}
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	pidfd := -1
	attr.PidFD, attr.Pdeathsig = &pidfd, 0
	cmd.SysProcAttr, cmd.Cancel = &attr, nil
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the old program: %w", err)
	}
	fd := listener.NewFD(pidfd)
	if c.peer, err = peer.FromPidFD(fd, cmd.Process.Pid, uint32(os.Geteuid()), uint32(os.Getegid())); err != nil {
		_ = fd.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return fmt.Errorf("watch the old program: %w", err)
	}
	return nil
}

// pipes makes a pipe whose ends do not block, here and there, as os.Pipe's do where tableflip starts a process.
func pipes(name string) (r, w *os.File, err error) {
	var n [2]int
	if err := unix.Pipe2(n[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	return os.NewFile(uintptr(n[0]), name), os.NewFile(uintptr(n[1]), name), nil
}

// tell writes the names, as tableflip's writeNames does.
func (c *child) tell(names [][]string) {
	defer close(c.told)
	_ = gob.NewEncoder(c.names).Encode(names) // a process that does not read them does not become ready
}

var (
	errExited   = errors.New("it ended before it was ready")
	errNotReady = errors.New("it closed the pipe on which it is to say that it is ready")
)

// awaitReady waits until the child is ready. An error is that it never will be.
func (c *child) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-c.peer.Done():
			cancel(errExited)
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(nil); <-watched }()
	var b [1]byte
	err := readUntil(ctx, c.ready, func() error {
		n, err := c.ready.Read(b[:])
		if n > 0 {
			return nil
		}
		return err
	})
	switch {
	case isEOF(err):
		<-ctx.Done() // most likely it has ended
		if err = context.Cause(ctx); !errors.Is(err, errExited) {
			err = errNotReady
		}
	case err == nil && b[0] == onSegue:
		err = fmt.Errorf("%s is a program on segue; put the old file back", c.cmd.Path)
	case err == nil && b[0] != ready:
		err = fmt.Errorf("it wrote %d, not %d, into the pipe on which it is to say that it is ready", b[0], ready)
	case err == nil && c.peer.Dead():
		err = errExited
	}
	return err
}

// end ends a child that does not become ready, or is not wanted, and says how it ended.
func (c *child) end(cause error) error {
	c.ended = true
	if err := c.peer.Kill(); err != nil {
		return errors.Join(cause, err) // it is our own child, so it has changed its user
	}
	_ = c.cmd.Wait() // the state says more than the error
	c.close()
	e := &handoff.ChildError{PID: c.peer.PID, State: c.cmd.ProcessState, Ended: true, Err: cause}
	switch how, ok := e.State.Sys().(syscall.WaitStatus); {
	case ok && how.Signaled():
		e.Exit = handoff.Exit{Known: true, Signal: how.Signal()}
	case ok:
		e.Exit = handoff.Exit{Known: true, Code: how.ExitStatus()}
	}
	return e
}

// leave lets the child go on. It finds out that this process has ended by the end of the pipe that brought the names.
func (c *child) leave() {
	c.lives = nil // nothing closes it but the end of this process
	c.close()
	_ = c.cmd.Process.Release()
}

// close closes this side of the pipes.
func (c *child) close() {
	_ = c.ready.Close()
	_ = c.names.Close() // ends tell
	<-c.told
	_ = c.lives.Close()
	if c.peer != nil {
		_ = c.peer.Close()
	}
}

// keepPaths makes sure that the paths of Unix sockets are still there if the old program fails: tableflip removes them if Stop is called
// before it is ready, as a deferred call does when the start of a program fails. restore is called when that is decided.
func keepPaths(keys []key) (restore func()) {
	kept := map[string]string{}
	for _, k := range keys {
		path := k.path()
		if i, err := os.Lstat(path); path == "" || err != nil || i.Mode().Type() != os.ModeSocket {
			continue
		}
		// Another name of the same file: whoever connects there reaches the same socket (unix(7)).
		removeSpare(path)
		name := path + spareSuffix
		if os.Link(path, name) == nil { // otherwise there is nothing to be done
			kept[path] = name
		}
	}
	return func() {
		for path, name := range kept {
			_ = os.Link(name, path) // fails if the path is there
			_ = os.Remove(name)
		}
	}
}
