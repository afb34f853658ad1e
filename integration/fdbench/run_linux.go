package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/listener"
)

// spare is how many descriptors are left for everything else, and below those that move.
const spare = 500

func run(ctx context.Context, w io.Writer, rounds int) (err error) {
	dir, err := os.MkdirTemp("", "fdbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program, err := compile(ctx, dir)
	if err != nil {
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	most := int(min(limit.Max, many+spare)) - spare
	if most <= fdpass.MaxFDs {
		return fmt.Errorf("RLIMIT_NOFILE is %d; raise it (ulimit -Hn) to %d or more", limit.Max, fdpass.MaxFDs+spare+1)
	}
	var figures []figure
	for _, way := range ways {
		for _, c := range []struct{ n, reps int }{{1, 2000}, {fdpass.MaxFDs, 20}, {most, 1}} {
			if c.n > way.most {
				continue
			}
			f := figure{way: way, n: c.n}
			if err := f.measure(ctx, program, rounds, c.reps); err != nil {
				return fmt.Errorf("%s, %d: %w", way.title, c.n, err)
			}
			figures = append(figures, f)
		}
	}
	return table(w, figures)
}

// measure lets both take turns.
func (f *figure) measure(ctx context.Context, program string, rounds, reps int) (err error) {
	c, err := startFloor(ctx, program, f.way.floor, strconv.Itoa(f.n), strconv.Itoa(reps))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	m, err := startMover(ctx, f.way.name, f.n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	for i := range rounds + 1 {
		floor, err := c.round()
		if err != nil {
			return err
		}
		var ours time.Duration
		for range reps {
			d, err := m.move()
			if err != nil {
				return err
			}
			ours += d
		}
		if i > 0 { // the first warms up
			each := time.Duration(f.n * reps)
			f.ours, f.floors = append(f.ours, ours/each), append(f.floors, floor/each)
		}
	}
	return nil
}

// mover moves descriptors by package fdpass.
type mover struct {
	way  string
	n    int
	own  []*listener.FD // what is sent to this process itself
	a, b *net.UnixConn
	buf  []byte

	holder  *exec.Cmd // has the others
	process *fdpass.Process
	numbers []int
}

func startMover(ctx context.Context, way string, n int) (m *mover, err error) {
	m = &mover{way: way, n: n, buf: make([]byte, 16)}
	defer func() {
		if err != nil {
			m.abort()
			m = nil
		}
	}()
	if m.a, m.b, err = socketPair(); err != nil {
		return m, err
	}
	if way == "scm" && n <= fdpass.MaxFDs {
		m.own, err = descriptors(way, n)
		return m, err
	}
	if err := m.startHolder(ctx); err != nil {
		return m, err
	}
	first := make([]byte, 20)
	k, err := m.b.Read(first)
	if err != nil {
		return m, fmt.Errorf("the process that holds the descriptors: %w", err)
	}
	number, err := strconv.Atoi(string(first[:k]))
	if err != nil {
		return m, err
	}
	for i := range n {
		m.numbers = append(m.numbers, number+i)
	}
	m.process, err = fdpass.OpenProcess(m.holder.Process.Pid)
	return m, err
}

// startHolder starts the other process, with the one end of the socket pair.
func (m *mover) startHolder(ctx context.Context) error {
	end, err := listener.Dup(m.a)
	if err != nil {
		return err
	}
	_ = m.a.Close()
	m.a = nil
	f := end.File("socket") // (*os.File).Fd, which os/exec calls, does not touch O_NONBLOCK of this one
	defer f.Close()
	holder := exec.CommandContext(ctx, "/proc/self/exe", m.way, strconv.Itoa(m.n))
	holder.Env = append(os.Environ(), envRole+"=holder")
	holder.Stderr = os.Stderr
	holder.ExtraFiles = []*os.File{f}
	holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := holder.Start(); err != nil {
		return err
	}
	m.holder = holder
	return nil
}

// move moves all once, and closes what it got after the time is taken.
func (m *mover) move() (time.Duration, error) {
	fds, took, err := m.once()
	for _, fd := range fds {
		_ = fd.Close() // it is only a copy
	}
	return took, err
}

func (m *mover) once() ([]*listener.FD, time.Duration, error) {
	start := time.Now()
	switch {
	case m.own != nil:
		if err := fdpass.SendAll(m.a, m.buf[:1], m.own); err != nil {
			return nil, 0, err
		}
		msg, err := fdpass.RecvAll(m.b, m.buf, m.n)
		if err != nil {
			return nil, 0, err
		}
		return msg.FDs, time.Since(start), m.check(len(msg.FDs))
	case m.way == "scm":
		if _, err := m.b.Write(m.buf[:1]); err != nil {
			return nil, 0, err
		}
		msg, err := fdpass.RecvAll(m.b, m.buf, m.n)
		if err != nil {
			return nil, 0, err
		}
		return msg.FDs, time.Since(start), m.check(len(msg.FDs))
	case m.way == "pidfd" && m.n == 1:
		fd, err := m.process.Get(m.numbers[0])
		return []*listener.FD{fd}, time.Since(start), err
	case m.way == "pidfd":
		fds, err := m.process.GetAll(m.numbers)
		return fds, time.Since(start), err
	}
	fds := make([]*listener.FD, 0, m.n)
	for _, n := range m.numbers {
		fd, err := m.process.Reopen(n, os.O_RDONLY)
		if err != nil {
			return fds, 0, err
		}
		fds = append(fds, fd)
	}
	return fds, time.Since(start), nil
}

func (m *mover) check(n int) error {
	if n != m.n {
		return fmt.Errorf("got %d descriptors, want %d", n, m.n)
	}
	return nil
}

func (m *mover) close() error {
	for _, fd := range m.own {
		_ = fd.Close()
	}
	if m.a != nil {
		_ = m.a.Close()
	}
	if m.b != nil {
		_ = m.b.Close() // the holder ends by that
	}
	var err error
	if m.process != nil {
		err = m.process.Close()
	}
	if m.holder != nil {
		err = errors.Join(err, m.holder.Wait())
	}
	return err
}

// abort is close when something else has failed.
func (m *mover) abort() {
	if m.holder != nil {
		_ = m.holder.Process.Kill()
	}
	_ = m.close() // what it says follows from what has failed
}

// play is the other process: it has the descriptors, and sends them for each byte.
func play(_ string, args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 1 {
		return fmt.Errorf("%q is not a number of descriptors", args[1])
	}
	f := os.NewFile(3, "socket")
	nc, err := net.FileConn(f)
	if err != nil {
		return err
	}
	_ = f.Close()
	c, ok := nc.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("descriptor 3 is a %T", nc)
	}
	fds, err := descriptors(args[0], n)
	if err != nil {
		return err
	}
	var first string
	if err := fds[0].Control(func(n uintptr) { first = strconv.Itoa(int(n)) }); err != nil {
		return err
	}
	if _, err := c.Write([]byte(first)); err != nil {
		return err
	}
	b := make([]byte, 1)
	for {
		if _, err := c.Read(b); err != nil {
			return nil //nolint:nilerr // the end
		}
		if err := fdpass.SendAll(c, b, fds); err != nil {
			return err
		}
	}
}

// descriptors returns n whose numbers are in a row, above those that the runtime has opened, and that were inherited.
func descriptors(way string, n int) (fds []*listener.FD, err error) {
	const first = 300
	defer func() {
		if err != nil {
			for _, fd := range fds {
				_ = fd.Close()
			}
			fds = nil
		}
	}()
	for i := range n {
		var fd int
		if way == "procfs" {
			fd, err = unix.MemfdCreate("x", unix.MFD_CLOEXEC)
		} else {
			fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		}
		if err != nil {
			return fds, err
		}
		row, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, first+i)
		_ = unix.Close(fd)
		if err != nil {
			return fds, err
		}
		fds = append(fds, listener.NewFD(row))
		if row != first+i {
			return fds, fmt.Errorf("descriptor %d is number %d", i, row)
		}
	}
	return fds, nil
}

func socketPair() (a, b *net.UnixConn, err error) {
	nums, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	var conns [2]*net.UnixConn
	for i, n := range nums {
		f := os.NewFile(uintptr(n), "socket")
		c, err := net.FileConn(f)
		_ = f.Close()
		if err != nil {
			return nil, nil, err
		}
		conns[i] = c.(*net.UnixConn)
	}
	return conns[0], conns[1], nil
}
