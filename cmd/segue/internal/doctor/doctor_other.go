//go:build !linux

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
)

// Examine needs Linux, as handoffs do.
func Examine(context.Context, string) ([]Finding, error) {
	return nil, fmt.Errorf("%w on %s; handoffs need Linux", errors.ErrUnsupported, runtime.GOOS)
}

// DryRun needs Linux likewise.
func DryRun(ctx context.Context, path string, _ []string, _ io.Writer) ([]Finding, error) {
	return Examine(ctx, path)
}
