//go:build !linux

package handoff

import "errors"

// becomeInit is for Linux.
func becomeInit(Config) error { return errors.ErrUnsupported }
