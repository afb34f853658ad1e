package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// env is what the program has of its surroundings, so that a test can give it others.
type env struct {
	stdout, stderr io.Writer
	self           string // what to execute to start this program again
	root           bool
	signals        chan os.Signal // for run; nil if this is not run
}

func newEnv() env {
	return env{stdout: os.Stdout, stderr: os.Stderr, self: selfPath, root: os.Geteuid() == 0}
}

// The exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	// Those of the shell, env(1) and their likes.
	exitCannot   = 126 // COMMAND is there, but cannot be executed
	exitNotFound = 127 // there is no COMMAND
	exitSignal   = 128 // and the number of the signal that ended it
)

// Annotations of commands.
const (
	// partOf: of which command this is a part, only for this program itself.
	partOf = "part of"
	// becomes: another program, to which signals are no business of this one.
	becomes = "becomes"
)

// usageError is a mistake on the command line.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// statusError is one with an exit status of its own. Without an error nothing is printed.
type statusError struct {
	error
	status int
}

func (e *statusError) Unwrap() error { return e.error }

// signalError is why a context ends: this process got a signal.
type signalError struct{ signal syscall.Signal }

func (e *signalError) Error() string { return "got a signal: " + e.signal.String() }

// output is standard output. It remembers the first error, so that not every line has to be looked after.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// run is the program: it returns the exit status.
func (e env) run(args []string) int {
	out := &output{w: e.stdout}
	e.stdout = out
	root := e.tree()
	if len(args) == 0 {
		root.SetOut(e.stderr)
		_ = root.Help()
		return exitUsage
	}
	c, begun, err := dispatch(root, args)
	if out.err != nil && (err == nil || !begun) {
		c, begun, err = root, true, fmt.Errorf("cannot write to standard output: %w", out.err)
	}
	return e.report(c, begun, err)
}

// dispatch runs a command, whose context ends by the first SIGINT or SIGTERM; by the second one the process ends at once.
//
// A command that becomes another program catches none, as it could only swallow them: one that comes before execve(2) ends
// the process, a later one is the other program's. What is ignored stays so (SIGINT is in a shell script's background):
// catching it would make execve(2) restore the default. This is true for SIGHUP and SIGINT only; all others are caught by
// Go's runtime before main runs (os/signal), and nothing tells what they were.
//
// It returns the command, and whether it was begun; otherwise the command line is wrong.
func dispatch(root *cobra.Command, args []string) (c *cobra.Command, begun bool, err error) {
	stop := func() {}
	defer func() { stop() }()
	root.PersistentPreRun = func(c *cobra.Command, _ []string) {
		begun = true
		if c.Annotations[becomes] == "" {
			ctx, end := context.WithCancelCause(c.Context())
			caught := make(chan os.Signal, 1)
			signal.Notify(caught, os.Interrupt, syscall.SIGTERM)
			go func() {
				if sig, ok := <-caught; ok {
					signal.Stop(caught)
					end(&signalError{sig.(syscall.Signal)})
				}
			}()
			c.SetContext(ctx)
			stop = func() {
				signal.Stop(caught)
				close(caught)
				end(nil)
			}
		}
	}
	root.SetArgs(args)
	c, err = root.ExecuteC()
	return c, begun, err
}

// report prints an error, and returns the exit status that goes with it.
func (e env) report(c *cobra.Command, begun bool, err error) int {
	if err == nil {
		return exitOK
	}
	var own *statusError
	if errors.As(err, &own) && own.error == nil {
		return own.status // of a program that has said itself what went wrong
	}
	var by *signalError
	if begun && errors.As(context.Cause(c.Context()), &by) { // whatever came of that
		own = &statusError{err, exitSignal + int(by.signal)}
	}
	name := c.CommandPath()
	if part := c.Annotations[partOf]; part != "" {
		name = "segue " + part
	}
	fmt.Fprintf(e.stderr, "%s: %v\n", name, err)
	var usage *usageError
	switch {
	case !begun || errors.As(err, &usage):
		fmt.Fprintf(e.stderr, "Run '%s --help' to see what is possible.\n", name)
		return exitUsage
	case own != nil:
		return own.status
	}
	return exitFailure
}
