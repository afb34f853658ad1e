//go:build !linux

package process

import (
	"context"

	"github.com/segue-go/segue/handoff"
)

// Rescue returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func Rescue(context.Context, handoff.Peer) (handoff.Source, error) {
	return nil, unsupported("rescue")
}
