//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// children cannot exist here. See children_linux.go.
type children struct{}

func newChildren() (*children, error) {
	return nil, fmt.Errorf("upgrades, and so the demo, need Linux, not %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (*children) close()                                          {}
func (*children) start(*exec.Cmd) (int, error)                    { return 0, errors.ErrUnsupported }
func (*children) signal(int, os.Signal) error                     { return errors.ErrUnsupported }
func (*children) exited(int) (exit, bool)                         { return exit{}, false }
func (*children) wait(context.Context, int) (exit, error)         { return exit{}, errors.ErrUnsupported }
func (*children) alive() []int                                    { return nil }
func (*children) endAll(time.Duration) (terminated, killed []int) { return nil, nil }
