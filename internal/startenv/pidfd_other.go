//go:build !linux

package startenv

import "errors"

// PidFDID is errors.ErrUnsupported: there are no pidfds.
func PidFDID(int) (uint64, error) { return 0, errors.ErrUnsupported }
