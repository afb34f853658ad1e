package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/process"
)

// Once this process is COMMAND, it cannot send a signal any more, so another process does that: adopt-signal. It is
// orphaned at once, by a process in between that ends, because COMMAND would not know what to do with a child.

// What adopt-signal inherits.
const (
	readyFD = 3 // to say that it holds both processes
	begunFD = 4 // to read the end of, which comes when COMMAND is executed, or when what was to become it ends
)

// notBegun is written to begunFD by whoever knows that COMMAND will not be executed.
const notBegun = "x"

// beginning bounds the time from startSignaller's return until COMMAND is executed, in which nothing takes long.
const beginning = time.Minute

// startSignaller returns when adopt-signal holds the process that has the number a.pid, and this one. What it returns is
// to be closed when COMMAND is executed.
func (e env) startSignaller(ctx context.Context, a adoption, chosen []process.Socket) (*os.File, error) {
	inodes := make([]int, len(chosen))
	for i, s := range chosen {
		inodes[i] = int(s.Inode)
	}
	ready, sayReady, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	begun, sayBegun, err := os.Pipe()
	if err != nil {
		_ = sayReady.Close()
		return nil, err
	}
	cmd := exec.CommandContext(ctx, e.self, "adopt-signal", "--detach", "--pid", strconv.Itoa(a.pid), "--for", strconv.Itoa(os.Getpid()),
		"--signal", strconv.Itoa(int(a.signal)), "--settle", a.settle.String(), "--idle", a.idle.String(), "--inodes", join(inodes))
	cmd.Stderr = e.stderr
	cmd.ExtraFiles = []*os.File{sayReady, begun}
	err = cmd.Run()
	_ = sayReady.Close()
	_ = begun.Close()
	if err == nil {
		err = awaitReady(ready)
	}
	if err != nil {
		_ = sayBegun.Close()
		return nil, fmt.Errorf("start the process that is to send the signal: %w", err)
	}
	return sayBegun, nil
}

func awaitReady(ready *os.File) error {
	if err := ready.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(ready, 3))
	if err == nil && string(b) != "ok\n" {
		err = errors.New("it has ended")
	}
	return err
}

func (e env) adoptSignalCommand() *cobra.Command {
	var s signaller
	var detach bool
	var sig int
	var inodes string
	c := &cobra.Command{
		Use: "adopt-signal", Short: "send a signal once COMMAND runs", Hidden: true, Annotations: map[string]string{partOf: "adopt"},
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if s.inodes, err = split(inodes); err != nil || s.pid <= 0 || s.command <= 0 || sig <= 0 {
				return usagef("this is for the program itself; use adopt")
			}
			ready := os.NewFile(readyFD, "ready")
			defer ready.Close()
			if err := unix.SetNonblock(begunFD, true); err != nil { // for a deadline
				return err
			}
			begun := os.NewFile(begunFD, "begun")
			defer begun.Close()
			if detach {
				return e.detach(c.Flags(), ready, begun)
			}
			s.sig = syscall.Signal(sig)
			return s.run(c.Context(), ready, begun)
		},
	}
	c.Flags().BoolVar(&detach, "detach", false, "start this again and return")
	c.Flags().IntVar(&s.pid, "pid", 0, "whom to send it")
	c.Flags().IntVar(&s.command, "for", 0, "COMMAND")
	c.Flags().IntVar(&sig, "signal", 0, "what to send")
	c.Flags().DurationVar(&s.settle, "settle", 0, "how long COMMAND must have run")
	c.Flags().DurationVar(&s.idle, "idle", 0, "how long to wait for no connections")
	c.Flags().StringVar(&inodes, "inodes", "", "of the sockets")
	return c
}

// detach starts this program with the same flags but --detach, in a session of its own.
func (e env) detach(flags *pflag.FlagSet, files ...*os.File) error {
	args := []string{"adopt-signal"}
	flags.Visit(func(f *pflag.Flag) {
		if f.Name != "detach" {
			args = append(args, "--"+f.Name, f.Value.String())
		}
	})
	cmd := exec.Command(e.self, args...)
	cmd.Stderr = e.stderr
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

type signaller struct {
	pid, command int
	sig          syscall.Signal
	settle, idle time.Duration
	inodes       []int
}

func (s signaller) run(ctx context.Context, ready, begun *os.File) error {
	command, err := process.Open(s.command)
	if err != nil {
		return err
	}
	defer command.Close()
	p, err := process.Open(s.pid)
	if err != nil {
		return err
	}
	defer p.Close()
	if _, err := io.WriteString(ready, "ok\n"); err != nil {
		return err
	}
	_ = ready.Close()
	if err := s.awaitBegun(ctx, begun); err != nil {
		return err
	}
	settled := time.NewTimer(s.settle)
	defer settled.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for done := false; ; {
		leaving := done && exiting(s.command)
		if command.Alive() != nil {
			return fmt.Errorf("the program that was started has ended within %v; process %d was not told and serves on", s.settle, s.pid)
		}
		if done && !leaving {
			break
		}
		select {
		case <-settled.C:
			done = true
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err = s.send(ctx, p)
	if errors.Is(err, process.ErrGone) {
		return nil // it has ended by itself
	}
	return err
}

// awaitBegun waits until COMMAND is executed, or what was to become it has ended: that looks the same.
func (s signaller) awaitBegun(ctx context.Context, begun *os.File) error {
	if err := begun.SetReadDeadline(time.Now().Add(beginning)); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = begun.SetReadDeadline(time.Now()) })()
	n, err := io.Copy(io.Discard, begun)
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("the program was not executed within %v", beginning)
	case err == nil && n > 0:
		err = errors.New("the program could not be started")
	}
	if err != nil {
		return fmt.Errorf("%w; process %d was not told and serves on", err, s.pid)
	}
	return nil
}

// exiting reports whether a process is about to end: all of its threads are. It closes its files before it is dead to those
// who hold it, but says PF_EXITING before that (do_exit in kernel/exit.c; the flags are in proc_pid_stat(5)). During an
// execve(2) it may look so for an instant.
func exiting(pid int) bool {
	const pfExiting = 0x4
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false
	}
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		// The name, in parentheses, can hold anything; the 7th field after it has the flags.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) < 7 {
			continue
		}
		if flags, err := strconv.ParseUint(fields[6], 10, 64); err == nil && flags&pfExiting == 0 {
			return false
		}
	}
	return true
}

func (s signaller) send(ctx context.Context, p *process.Process) error {
	if s.idle > 0 {
		all, err := p.List(ctx)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(so process.Socket) bool { return !slices.Contains(s.inodes, int(so.Inode)) })
		ctx, cancel := context.WithTimeout(ctx, s.idle)
		err = p.SignalIdle(ctx, s.sig, all...)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	return p.Signal(s.sig)
}
