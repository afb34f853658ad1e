//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
)

func run(context.Context, io.Writer, int) error {
	return fmt.Errorf("there is nothing to measure on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func play(string, []string) error { return errors.ErrUnsupported }
