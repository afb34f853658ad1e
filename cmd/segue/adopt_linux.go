package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/process"
	"github.com/segue-go/segue/internal/startenv"
	"github.com/segue-go/segue/listener"
)

// selfPath is this program, also after its file was replaced.
const selfPath = "/proc/self/exe"

type signalNumber = syscall.Signal

// parts are commands that this program itself starts.
func (e env) parts() []*cobra.Command {
	return []*cobra.Command{adoptExecCommand(), e.adoptSignalCommand(), runExecCommand()}
}

// parseSignal reads a name, with or without SIG, or a number.
func parseSignal(s string) (signalNumber, error) {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n < 65 {
		return signalNumber(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n := unix.SignalNum(name); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("there is no signal %q; common ones are TERM, QUIT, INT, HUP", s)
}

// adopt takes the sockets, and executes COMMAND with them. It returns only if that fails.
//
// The sockets have to get the numbers from 3 on, where this program's own runtime may have its epoll instance by now, which
// it would miss at once. So this program executes itself first, with those numbers in use by what is of no importance:
// then the runtime has its own elsewhere, and adopt-exec can put the sockets there. The process stays the same.
func (e env) adopt(ctx context.Context, a adoption) error {
	p, err := process.Open(a.pid)
	if err != nil {
		return err
	}
	defer p.Close()
	all, err := p.List(ctx)
	if err != nil {
		return e.plainly(err, a.pid)
	}
	chosen, names, err := choose(ctx, a.pid, all, a.listen)
	if err != nil {
		return err
	}
	fds := make([]*listener.FD, 0, len(chosen))
	defer func() {
		for _, fd := range fds {
			_ = fd.Close()
		}
	}()
	for _, s := range chosen {
		fd, err := p.Take(s)
		if err != nil {
			holder := a.pid
			if len(s.Holders) > 0 {
				holder = s.Holders[0].PID // whose error it is
			}
			return e.plainly(err, holder)
		}
		fds = append(fds, fd)
	}
	var begun *os.File
	if a.signal != 0 {
		if begun, err = e.startSignaller(ctx, a, chosen); err != nil {
			return err
		}
		defer func() { // nothing came of it
			_, _ = begun.WriteString(notBegun)
			_ = begun.Close()
		}()
		// It holds the process with this number by now. Since that lives, it is the one whose sockets were taken.
		if err := p.Alive(); err != nil {
			return err
		}
	}
	if begun != nil {
		fd, err := listener.Dup(begun)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
	}
	numbers, err := inheritable(fds, startenv.FirstFD+len(chosen))
	if err != nil {
		return err
	}
	argv := []string{"segue", "adopt-exec", "--fds", join(numbers[:len(chosen)]), "--names", strings.Join(names, ":")}
	if begun != nil {
		argv = append(argv, "--begun", strconv.Itoa(numbers[len(chosen)]))
	}
	argv = append(append(argv, "--", a.path), a.argv...)
	return os.NewSyscallError("execve "+e.self, syscall.Exec(e.self, argv, os.Environ()))
}

// inheritable copies descriptors to numbers from end on, open after execve(2), and fills those from startenv.FirstFD to end.
func inheritable(fds []*listener.FD, end int) ([]int, error) {
	numbers := make([]int, 0, len(fds))
	for _, fd := range fds {
		var opErr error
		if err := fd.Control(func(n uintptr) {
			var copied int
			copied, opErr = unix.FcntlInt(n, unix.F_DUPFD, end)
			numbers = append(numbers, copied)
		}); err != nil {
			return nil, err
		}
		if opErr != nil {
			return nil, fmt.Errorf("no room for another descriptor; raise RLIMIT_NOFILE (ulimit -n): %w", os.NewSyscallError("fcntl F_DUPFD", opErr))
		}
	}
	for n := startenv.FirstFD; n < end; n++ {
		_, err := unix.FcntlInt(uintptr(n), unix.F_SETFD, 0) // keep it open
		if errors.Is(err, unix.EBADF) {
			_, err = unix.FcntlInt(uintptr(numbers[0]), unix.F_DUPFD, n) // n is free
		}
		if err != nil {
			return nil, os.NewSyscallError("fcntl", err)
		}
	}
	return numbers, nil
}

// adoptExecCommand is the second half of adopt.
func adoptExecCommand() *cobra.Command {
	var numbers, names string
	var begun int
	c := &cobra.Command{
		Use: "adopt-exec", Short: "put sockets where COMMAND wants them, and execute it", Hidden: true,
		Annotations: map[string]string{partOf: "adopt", becomes: "COMMAND"},
		RunE: func(_ *cobra.Command, args []string) error {
			if begun >= 0 {
				unix.CloseOnExec(begun)
				defer func() { _, _ = unix.Write(begun, []byte(notBegun)) }()
			}
			fds, err := split(numbers)
			if err != nil || len(fds) != len(strings.Split(names, ":")) || len(args) < 2 {
				return usagef("this is for the program itself; use adopt")
			}
			for i, n := range fds {
				if n < startenv.FirstFD+len(fds) {
					return usagef("descriptor %d is where sockets are to be", n)
				}
				if err := unix.Dup3(n, startenv.FirstFD+i, 0); err != nil { // not close-on-exec
					return os.NewSyscallError("dup3", err)
				}
				_ = unix.Close(n)
			}
			return execute(args[0], args[1:], startenv.WithListen(os.Environ(), os.Getpid(), strings.Split(names, ":")))
		},
	}
	c.Flags().SetInterspersed(false)
	c.Flags().StringVar(&numbers, "fds", "", "descriptors that hold the sockets")
	c.Flags().StringVar(&names, "names", "", "LISTEN_FDNAMES")
	c.Flags().IntVar(&begun, "begun", -1, "descriptor to be closed when COMMAND is executed")
	return c
}

// execute returns only if it fails.
func execute(path string, argv, environ []string) error {
	err := syscall.Exec(path, argv, environ)
	switch _, gone := os.Stat(path); {
	case errors.Is(err, unix.ENOENT) && gone != nil:
		return &statusError{fmt.Errorf("cannot execute %s: it is gone: %w", path, err), exitNotFound}
	case errors.Is(err, unix.ENOENT):
		err = fmt.Errorf("its interpreter, which it names after #! or in its ELF header, is missing: %w", err)
	case errors.Is(err, unix.ENOEXEC):
		err = fmt.Errorf("it is neither a program for this machine nor a script that begins with #!: %w", err)
	}
	return &statusError{fmt.Errorf("cannot execute %s: %w", path, err), exitCannot}
}

func join(numbers []int) string {
	s := make([]string, len(numbers))
	for i, n := range numbers {
		s[i] = strconv.Itoa(n)
	}
	return strings.Join(s, ",")
}

func split(s string) ([]int, error) {
	var numbers []int
	for _, f := range strings.Split(s, ",") {
		n, err := strconv.Atoi(f)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}
