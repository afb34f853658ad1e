//go:build !linux

package children

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// Children cannot exist here. See children_linux.go.
type Children struct{}

// New fails.
func New() (*Children, error) {
	return nil, fmt.Errorf("upgrades need Linux, not %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (*Children) Close()                                          {}
func (*Children) Start(*exec.Cmd) (int, error)                    { return 0, errors.ErrUnsupported }
func (*Children) Signal(int, os.Signal) error                     { return errors.ErrUnsupported }
func (*Children) Exited(int) (Exit, bool)                         { return Exit{}, false }
func (*Children) Wait(context.Context, int) (Exit, error)         { return Exit{}, errors.ErrUnsupported }
func (*Children) Alive() []int                                    { return nil }
func (*Children) EndAll(time.Duration) (terminated, killed []int) { return nil, nil }
