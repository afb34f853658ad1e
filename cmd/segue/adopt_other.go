//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
)

const selfPath = ""

type signalNumber = syscall.Signal

func parseSignal(string) (signalNumber, error) { return 0, unsupported() }

func unsupported() error {
	return fmt.Errorf("%w on %s; taking sockets out of a process needs Linux", errors.ErrUnsupported, runtime.GOOS)
}

func (env) adopt(context.Context, adoption) error { return unsupported() }

// parts are commands that this program itself starts.
func (env) parts() []*cobra.Command { return nil }
