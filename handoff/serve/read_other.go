//go:build !linux

package serve

import "errors"

const canMove = false

func readNow(uintptr, []byte) (n int, more bool, err error) { return 0, true, errors.ErrUnsupported }

func peekNow(uintptr, []byte) (n int, more bool, err error) { return 0, true, errors.ErrUnsupported }
