package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/segue-go/segue/cmd/segue/internal/supervise"
	"github.com/segue-go/segue/internal/startenv"
)

// catchForRun has run's signals wait for it, if this is run. Otherwise a SIGHUP would end it that comes while the command line is read.
func catchForRun(args []string) chan os.Signal {
	if len(args) == 0 || args[0] != "run" {
		return nil
	}
	return supervise.Signals()
}

// supervise returns the status of COMMAND as an error, unless that is 0.
func (e env) supervise(o supervise.Options) error {
	o.LookPath, o.Self = lookPath, []string{e.self, "run-exec", "--"}
	o.Status = func(err error) int {
		var own *statusError
		if errors.As(err, &own) {
			return own.status
		}
		return exitCannot
	}
	o.Stdout, o.Stderr, o.Signals = os.Stdout, os.Stderr, e.signals
	out := supervise.NewOutput(e.stderr)
	defer out.Close()
	o.Log = slog.New(slog.NewTextHandler(out, nil)).With("segue", "run")
	status, err := supervise.Run(o)
	if err != nil {
		fmt.Fprintf(out, "segue run: %v\n", err) // here, since nobody may read standard error
	}
	if status == exitOK {
		return nil
	}
	return &statusError{nil, status}
}

// runExecCommand is what run starts: a process that becomes COMMAND when it has set LISTEN_PID, which is its own number.
func runExecCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "run-exec", Short: "execute COMMAND with LISTEN_PID", Hidden: true,
		Annotations: map[string]string{partOf: "run", becomes: "COMMAND"},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) < 3 {
				return usagef("this is for the program itself; use run")
			}
			begun, err := strconv.Atoi(args[0])
			if err != nil || begun < startenv.FirstFD {
				return usagef("this is for the program itself; use run")
			}
			syscall.CloseOnExec(begun)
			err = execute(args[1], args[2:], startenv.WithPID(syscall.Environ(), os.Getpid()))
			_, _ = syscall.Write(begun, []byte(notBegun))
			return err
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}
