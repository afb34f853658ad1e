//go:build !linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"syscall"
)

const selfPath = ""

type signalNumber = syscall.Signal

func parseSignal(string) (signalNumber, error) { return 0, unsupported() }

func unsupported() error {
	return fmt.Errorf("%w on %s; taking sockets out of a process needs Linux", errors.ErrUnsupported, runtime.GOOS)
}

func (env) adopt(context.Context, adoption) error { return unsupported() }

func adoptExecCommand() command {
	return command{name: "adopt-exec", part: "adopt", setup: noSetup}
}

func adoptSignalCommand() command {
	return command{name: "adopt-signal", part: "adopt", setup: noSetup}
}

func noSetup(env, *flag.FlagSet) func(context.Context, []string) error {
	return func(context.Context, []string) error { return unsupported() }
}
