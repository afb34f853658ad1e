//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
)

const envRole = "SEGUE_BENCH_ROLE"

func run(context.Context, io.Writer, options) error {
	return fmt.Errorf("there is nothing to measure on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func play(string, []string) error { return errors.ErrUnsupported }
