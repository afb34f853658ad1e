//go:build !linux

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/segue-go/segue/cmd/segue/internal/supervise"
)

func catchForRun([]string) chan os.Signal { return nil }

func (env) supervise(supervise.Options) error {
	return fmt.Errorf("%w on %s; replacing a process without losing its sockets needs Linux", errors.ErrUnsupported, runtime.GOOS)
}
