package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/cmd/segue/internal/supervise"
	"github.com/segue-go/segue/internal/startenv"
)

// supervise returns the status of COMMAND as an error, unless that is 0.
func (e env) supervise(r running) error {
	o := supervise.Options{
		Argv: r.argv, LookPath: lookPath, Self: []string{e.self, "run-exec", "--"},
		Status: func(err error) int {
			var own *statusError
			if errors.As(err, &own) {
				return own.status
			}
			return exitCannot
		},
		Rendezvous:   r.rendezvous,
		Ready:        supervise.Ready{Joined: r.ready.joined, Notify: r.ready.notify, Address: r.ready.address, Path: r.ready.path, Delay: r.ready.delay},
		ReadyTimeout: r.readyTimeout, DrainSignal: r.drainSignal, DrainTimeout: r.drainTimeout, StopTimeout: r.stopTimeout, Restarts: r.restarts,
		Stay: r.stay, ReadyFile: r.readyFile,
		Stdout: os.Stdout, Stderr: os.Stderr,
		Log: slog.New(slog.NewTextHandler(e.stderr, nil)).With("segue", "run"),
	}
	if o.DrainSignal == 0 {
		o.DrainSignal = unix.SIGTERM
	}
	for _, l := range r.listen {
		o.Listen = append(o.Listen, supervise.Socket{Name: l.name, Network: l.network, Address: l.address})
	}
	status, err := supervise.Run(o)
	if err == nil && status == exitOK {
		return nil
	}
	return &statusError{err, status}
}

// runExecCommand is what run starts: a process that becomes COMMAND when it has set LISTEN_PID, which is its own number.
func runExecCommand() command {
	return command{
		name: "run-exec", args: "-- PATH ARGV...", part: "run", becomes: true, summary: "execute COMMAND with LISTEN_PID",
		setup: func(env, *flag.FlagSet) func(context.Context, []string) error {
			return func(_ context.Context, args []string) error {
				if len(args) < 2 {
					return usagef("this is for the program itself; use run")
				}
				return execute(args[0], args[1:], startenv.WithPID(syscall.Environ(), os.Getpid()))
			}
		},
	}
}
