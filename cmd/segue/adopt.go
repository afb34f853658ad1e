package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-go/segue/handoff/process"
)

func (e env) adoptCommand() *cobra.Command {
	a := adoption{settle: time.Second}
	c := &cobra.Command{
		Use:   "adopt --pid P --listen ADDRESS [--listen ADDRESS ...] [--signal NAME] -- COMMAND [ARGUMENTS]",
		Short: "start a program with the sockets of another", DisableFlagsInUseLine: true,
		Annotations: map[string]string{becomes: "COMMAND"}, ValidArgsFunction: completeCommand,
		Long: `Takes sockets out of process P and its descendants, which do not notice, and executes COMMAND with them in place of this
program, by the convention of systemd's socket activation: descriptors from 3 on, LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES
(sd_listen_fds(3)). Nothing is bound anew, so no client is refused: P and COMMAND accept from the same queues, until P
ends or closes its own.

ADDRESS is what P was told to listen on, with the network in front unless it is tcp or a path: :80, 127.0.0.1:80,
udp/:53, /run/app.sock, unixgram//run/log.sock. Without a host it means the sockets for all addresses of a family. All
sockets with such an address are taken, those of an SO_REUSEPORT group one after the other. NAME=ADDRESS chooses what
LISTEN_FDNAMES says; otherwise it is like tcp-80.

With --signal, P is sent that signal once COMMAND has been running for the time of --settle: QUIT makes nginx finish what
it is doing and end. If COMMAND ends before, P is not told and serves on. With --idle, for programs that drop what they
are doing at the signal, it is sent when P has no connection of these sockets open, at the latest after that time; to
see that, P is stopped (SIGSTOP) for a few milliseconds at a time.

It needs to run as root, or as the same user and group as P, if that has not changed its user, has no capabilities of its
own, and kernel.yama.ptrace_scope is 0 (Ubuntu's and others' default is 1: then it takes root, unless P allows it).

The exit status is that of COMMAND; 127 if there is no COMMAND, and 126 if it cannot be executed, which P does not notice.
SIGTERM and SIGINT end it before COMMAND runs, and are COMMAND's from then on.`,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case a.pid <= 0:
				return usagef("which process? Give its number with --pid; 'segue sockets' lists those that listen")
			case len(a.listen) == 0:
				return usagef("which sockets? Give their addresses with --listen; 'segue sockets --pid %d' lists them", a.pid)
			case len(args) == 0:
				return usagef("which program is to have the sockets? Give its command line after --")
			case a.signal == 0 && (c.Flags().Changed("idle") || c.Flags().Changed("settle")):
				return usagef("--settle and --idle say when a signal is sent; say with --signal which one")
			}
			path, err := lookPath(args[0])
			if err != nil {
				return err
			}
			a.path, a.argv = path, args
			return e.adopt(c.Context(), a)
		},
	}
	flags := c.Flags()
	flags.SetInterspersed(false)
	flags.Var((*pidValue)(&a.pid), "pid", "take from this process and its descendants: the `number` of a process")
	flags.Func("listen", "take the sockets with this `address`; can be repeated", func(s string) error {
		l, err := parseListen(s)
		a.listen = append(a.listen, l)
		return err
	})
	flags.Func("signal", "send P the signal of this `name` once COMMAND runs; otherwise P goes on", func(s string) (err error) {
		a.signal, err = parseSignal(s)
		return err
	})
	flags.Var((*timeValue)(&a.settle), "settle", "wait this `time` before the signal is sent")
	flags.Var((*timeValue)(&a.idle), "idle", "then wait for P to have no connections, for at most this `time`")
	completeFlag(c, "pid", completePIDs)
	completeFlag(c, "signal", completeSignals)
	return c
}

// lookPath returns where COMMAND is.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	var cause *exec.Error
	if errors.As(err, &cause) {
		err = cause.Err // the rest is the name
	}
	switch {
	case err == nil:
		return filepath.Abs(path)
	case errors.Is(err, exec.ErrDot):
		return "", &statusError{fmt.Errorf("%s is in the current directory; say ./%[1]s, if that is meant", name), exitNotFound}
	case errors.Is(err, exec.ErrNotFound):
		return "", &statusError{fmt.Errorf("there is no program %q in the directories of PATH", name), exitNotFound}
	case errors.Is(err, fs.ErrNotExist):
		return "", &statusError{fmt.Errorf("cannot execute %s: no such file", name), exitNotFound}
	}
	return "", &statusError{fmt.Errorf("cannot execute %s: %w", name, err), exitCannot}
}

// adoption is what adopt is asked to do.
type adoption struct {
	pid          int
	listen       []listenArg
	signal       signalNumber
	settle, idle time.Duration
	path         string // of COMMAND
	argv         []string
}

// choose returns the sockets to take, each once, with their names.
func choose(ctx context.Context, pid int, all []process.Socket, listen []listenArg) ([]process.Socket, []string, error) {
	var chosen []process.Socket
	var names []string
	have := map[uint64]bool{}
	for _, l := range listen {
		found, err := process.Match(ctx, all, l.network, l.address)
		if err != nil {
			return nil, nil, err
		}
		if len(found) == 0 {
			return nil, nil, &process.NoSocketError{PID: pid, Network: l.network, Address: l.address, Have: all}
		}
		for _, s := range found {
			if !have[s.Inode] {
				have[s.Inode] = true
				chosen, names = append(chosen, s), append(names, l.name)
			}
		}
	}
	return chosen, names, nil
}
