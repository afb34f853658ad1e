//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/segue-go/segue/integration/measured"
)

var errNotAsked = errors.New("not asked to serve")

type role func()

func serveIfAsked(map[string]role) error { return errNotAsked }

// run fails: see run_linux.go.
func run(context.Context, options, peer) (measured.Peer, error) {
	return measured.Peer{}, fmt.Errorf("upgrades need Linux, not %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
