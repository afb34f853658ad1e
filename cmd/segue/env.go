package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

// env is what the program has of its surroundings, so that a test can give it others.
type env struct {
	stdout, stderr io.Writer
	self           string // what to execute to start this program again
	root           bool
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

// command is what follows "segue" on the command line.
type command struct {
	name    string
	args    string // for the usage line
	summary string // one line
	help    string // the rest
	part    string // of which command this is a part, only for this program itself; hidden, if it is not empty
	becomes bool   // another program, to which signals are no business of this one
	words   []string
	file    bool // its argument is a path
	// setup declares the flags, and returns what runs once they are parsed, with the remaining arguments.
	setup func(e env, fs *flag.FlagSet) func(ctx context.Context, args []string) error
}

func commands() []command {
	return []command{
		upgradeCommand(), statusCommand(), stopCommand(),
		socketsCommand(), adoptCommand(), runCommand(), adoptExecCommand(), runExecCommand(), adoptSignalCommand(), completionCommand(), versionCommand(), helpCommand(),
	}
}

// shown is the name that a user knows it by.
func (c command) shown() string {
	if c.part != "" {
		return c.part
	}
	return c.name
}

// find returns the command with this name.
func find(name string) (command, error) {
	for _, c := range commands() {
		if c.name == name {
			return c, nil
		}
	}
	return command{}, usagef("there is no command %q", name)
}

// run is the program: it returns the exit status.
func (e env) run(args []string) int {
	out := &output{w: e.stdout}
	e.stdout = out
	status := e.dispatch(args)
	if status == exitOK && out.err != nil {
		fmt.Fprintf(e.stderr, "segue: cannot write to standard output: %v\n", out.err)
		return exitFailure
	}
	return status
}

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

func (e env) dispatch(args []string) int {
	if len(args) == 0 {
		e.overview(e.stderr)
		return exitUsage
	}
	switch args[0] {
	case "-h", "-help", "--help":
		e.overview(e.stdout)
		return exitOK
	case "-v", "-version", "--version":
		args = []string{"version"}
	}
	c, err := find(args[0])
	if err != nil {
		return e.report(c, err)
	}
	return e.start(c, args[1:])
}

// start runs a command, whose context ends by the first SIGINT or SIGTERM; by the second one the process ends at once.
//
// A command that becomes another program catches none, as it could only swallow them: one that comes before execve(2) ends
// the process, a later one is the other program's. What is ignored stays so (SIGINT is in a shell script's background):
// catching it would make execve(2) restore the default. This is true for SIGHUP and SIGINT only; all others are caught by
// Go's runtime before main runs (os/signal), and nothing tells what they were.
func (e env) start(c command, args []string) int {
	ctx := context.Background()
	if !c.becomes {
		var stop func()
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop)
	}
	return e.report(c, e.runCommand(ctx, c, args))
}

func (e env) runCommand(ctx context.Context, c command, args []string) error {
	fs := c.flags()
	do := c.setup(e, fs)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			c.usage(e.stdout, fs)
			return nil
		}
		return usagef("%s", twoDashes(err.Error()))
	}
	return do(ctx, fs.Args())
}

// twoDashes writes flags in an error of package flag as the help does: --pid. A value that is quoted there stays as it is.
func twoDashes(msg string) string {
	head := ""
	for _, prefix := range []string{"invalid value ", "invalid boolean value "} {
		if rest, ok := strings.CutPrefix(msg, prefix); ok {
			if value, err := strconv.QuotedPrefix(rest); err == nil {
				head = prefix + value
			}
		}
	}
	return head + strings.Replace(msg[len(head):], " -", " --", 1)
}

// report prints an error, and returns the exit status that goes with it.
func (e env) report(c command, err error) int {
	if err == nil {
		return exitOK
	}
	var own *statusError
	if errors.As(err, &own) && own.error == nil {
		return own.status // of a program that has said itself what went wrong
	}
	name := strings.TrimSpace("segue " + c.shown())
	fmt.Fprintf(e.stderr, "%s: %v\n", name, err)
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(e.stderr, "Run '%s' to see what is possible.\n", strings.TrimSpace("segue help "+c.shown()))
		return exitUsage
	}
	if own != nil {
		return own.status
	}
	return exitFailure
}

func (c command) flags() *flag.FlagSet {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs
}
