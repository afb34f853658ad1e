//go:build !linux

package main

import (
	"errors"
	"fmt"
	"runtime"
)

func (env) supervise(running) error {
	return fmt.Errorf("%w on %s; replacing a process without losing its sockets needs Linux", errors.ErrUnsupported, runtime.GOOS)
}

func runExecCommand() command { return command{name: "run-exec", part: "run", setup: noSetup} }
