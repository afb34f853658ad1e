package tableflip

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// maxNames bounds what a parent may write.
const maxNames = 1 << 20

func (p *Parent) inherit(ctx context.Context) error {
	// Nothing is touched before both are known to be there: without such a parent, the numbers may be anybody's.
	err := isPipe(readyPipe, unix.O_WRONLY)
	if err == nil {
		err = isPipe(namesPipe, unix.O_RDONLY)
	}
	if err != nil {
		return fmt.Errorf("%s is set, but this process was not started by tableflip as far as can be seen; unset it: %w", sentinel, err)
	}
	if err = p.takeOver(ctx); err != nil && !errors.Is(err, errRollback) {
		err = fmt.Errorf("take over from the parent: %w", err)
	}
	return err
}

// takeOver owns what the parent has given. After an error, Close closes it.
func (p *Parent) takeOver(ctx context.Context) error {
	if err := os.Unsetenv(sentinel); err != nil {
		return err
	}
	marked := os.Getenv(rolledBack)
	if err := os.Unsetenv(rolledBack); err != nil {
		return err
	}
	var err error
	if p.tell, err = pipe(readyPipe, "ready"); err != nil {
		return err
	}
	if p.names, err = pipe(namesPipe, "names"); err != nil {
		return err
	}
	if ino, err := inode(p.names); err == nil && marked == ino {
		_, _ = p.tell.Write([]byte{onSegue})
		return errRollback
	}
	var names [][]string
	err = readUntil(ctx, p.names, func() error {
		return gob.NewDecoder(io.LimitReader(p.names, maxNames)).Decode(&names)
	})
	if err != nil {
		return fmt.Errorf("the names of what it hands over: %w", err)
	}
	var missing []error
	for i, parts := range names {
		n, k := firstFile+i, keyFrom(parts)
		flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC != 0 { // what this process has opened itself, such as the runtime's epoll
			err = unix.EBADF
		}
		if err != nil {
			missing = append(missing, fmt.Errorf("descriptor %d, which is to be %s: %w", n, k, err))
			continue
		}
		unix.CloseOnExec(n)
		if p.files[k] != nil {
			_ = unix.Close(n) // it cannot be
			continue
		}
		p.files[k] = listener.NewFD(n)
	}
	return errors.Join(missing...)
}

// inode is the number of an open file's inode, in digits.
func inode(f *os.File) (string, error) {
	i, err := f.Stat()
	if err != nil {
		return "", err
	}
	return strconv.FormatUint(i.Sys().(*syscall.Stat_t).Ino, 10), nil
}

// isPipe returns an error unless n is one end of a pipe, open for what mode says.
func isPipe(n, mode int) error {
	var st unix.Stat_t
	if err := unix.Fstat(n, &st); err != nil {
		return fmt.Errorf("descriptor %d: %w", n, os.NewSyscallError("fstat", err))
	}
	flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("descriptor %d: %w", n, os.NewSyscallError("fcntl F_GETFL", err))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO || flags&unix.O_ACCMODE != mode {
		return fmt.Errorf("descriptor %d is not the pipe that it should be", n)
	}
	return nil
}

// pipe takes the descriptor n.
func pipe(n int, name string) (*os.File, error) {
	unix.CloseOnExec(n)
	if err := unix.SetNonblock(n, true); err != nil { // so that it can have a deadline; the other end does not notice
		return nil, os.NewSyscallError("fcntl F_SETFL", err)
	}
	f := os.NewFile(uintptr(n), name)
	if f == nil {
		return nil, errors.New("no such descriptor")
	}
	return f, nil
}
