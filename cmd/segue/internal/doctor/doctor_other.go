//go:build !linux

package doctor

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// Examine needs Linux, as handoffs do.
func Examine(context.Context, string) ([]Finding, error) {
	return nil, fmt.Errorf("%w on %s; handoffs need Linux", errors.ErrUnsupported, runtime.GOOS)
}
