//go:build !linux

package otel_test

import "errors"

func play(string) error { return errors.ErrUnsupported }
