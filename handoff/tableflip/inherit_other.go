//go:build !linux

package tableflip

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/segue-go/segue/handoff"
)

func unsupported() error {
	return fmt.Errorf("sockets are handed over on Linux only, not on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (p *Parent) inherit(context.Context) error { return unsupported() }

func rollback(context.Context, *handoff.Generation, RollbackOptions) error { return unsupported() }
