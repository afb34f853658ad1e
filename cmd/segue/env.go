package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
)

// env is what the program has of its surroundings, so that a test can give it others.
type env struct {
	stdout, stderr io.Writer
	self           string       // what to execute to start this program again
	unnotify       func() error // ends that signals end the context; see (env).lastWord
}

func newEnv() env {
	return env{stdout: os.Stdout, stderr: os.Stderr, self: selfPath}
}

// The exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// usageError is a mistake on the command line.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// command is what follows "segue" on the command line.
type command struct {
	name    string
	args    string // for the usage line
	summary string // one line
	help    string // the rest
	hidden  bool   // only for this program itself
	words   []string
	// setup declares the flags, and returns what runs once they are parsed, with the remaining arguments.
	setup func(e env, fs *flag.FlagSet) func(ctx context.Context, args []string) error
}

func commands() []command {
	return []command{
		socketsCommand(), adoptCommand(), adoptExecCommand(), adoptSignalCommand(), completionCommand(), versionCommand(), helpCommand(),
	}
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
	ctx, stop := e.heed()
	defer stop()
	out := &output{w: e.stdout}
	e.stdout = out
	if len(args) == 0 {
		e.overview(e.stderr)
		return exitUsage
	}
	switch args[0] {
	case "-h", "-help", "--help":
		args = []string{"help"}
	case "-v", "-version", "--version":
		args = []string{"version"}
	}
	c, err := find(args[0])
	if err == nil {
		err = e.runCommand(ctx, c, args[1:])
	}
	if err == nil {
		err = out.err // a list that is cut short must not pass for a whole one
	}
	return e.report(c, err)
}

// output remembers that it could not be written.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// heed makes a context that ends with SIGINT or SIGTERM; the second one ends the process at once. One that this process was
// started to ignore stays ignored, also for what it executes: the runtime tells that of SIGINT and SIGHUP only.
func (e *env) heed() (context.Context, func()) {
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(signalError{s})
		case <-quit:
		}
	}()
	stop := sync.OnceFunc(func() {
		signal.Stop(signals) // what has come is in the channel when this returns
		close(quit)
		<-done
		select {
		case s := <-signals:
			cancel(signalError{s})
		default:
		}
	})
	e.unnotify = func() error {
		stop()
		return context.Cause(ctx)
	}
	return ctx, func() { stop(); cancel(nil) }
}

// lastWord is called before this process executes another program: from here on a signal has the effect that it has without
// a handler. An error means that one came before.
func (e env) lastWord() error {
	if e.unnotify == nil {
		return nil
	}
	return e.unnotify()
}

// signalError is the end of a context by a signal.
type signalError struct{ os.Signal }

func (e signalError) Error() string {
	return "ended by a signal (" + e.String() + "); nothing was changed"
}

// dashes makes of what package flag says what this program's help says.
var dashes = strings.NewReplacer("for flag -", "for flag --", "not defined: -", "not defined: --", "needs an argument: -", "needs an argument: --")

func (e env) runCommand(ctx context.Context, c command, args []string) error {
	fs := c.flags()
	do := c.setup(e, fs)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			c.usage(e.stdout, fs)
			return nil
		}
		return usagef("%s", dashes.Replace(err.Error()))
	}
	return do(ctx, fs.Args())
}

// report prints an error, and returns the exit status that goes with it.
func (e env) report(c command, err error) int {
	if err == nil {
		return exitOK
	}
	if c.hidden { // a part of this one
		c.name, _, _ = strings.Cut(c.name, "-")
	}
	name := strings.TrimSpace("segue " + c.name)
	fmt.Fprintf(e.stderr, "%s: %v\n", name, err)
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(e.stderr, "Run '%s' to see what is possible.\n", strings.TrimSpace("segue help "+c.name))
		return exitUsage
	}
	var exec *execError
	if errors.As(err, &exec) {
		return exec.status()
	}
	return exitFailure
}

func (c command) flags() *flag.FlagSet {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs
}
