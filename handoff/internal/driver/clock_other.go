//go:build !linux

package driver

import (
	"time"

	"github.com/segue-go/segue/handoff/internal/chronicle"
)

// now reads the wall clock: no two processes join a record.
func now() chronicle.Clock {
	n := time.Now().UnixNano()
	return chronicle.Clock{Mono: n, Wall: n}
}

func (d *Driver) programName() string { return "" }
