//go:build !linux

package control

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

func (c *Client) unsupported(op string) error {
	_, _ = c.silence(), c.settle()
	return &Error{Op: op, Path: c.Path, Err: fmt.Errorf("%w on %s; chains are on Linux only", errors.ErrUnsupported, runtime.GOOS)}
}

// Status asks what the generation that serves is doing.
func (c *Client) Status(context.Context) (Status, error) {
	return Status{}, c.unsupported("status")
}

// Upgrade has the generation that serves hand over to a successor.
func (c *Client) Upgrade(context.Context, func(Event)) error { return c.unsupported("upgrade") }

// Stop ends the process that serves.
func (c *Client) Stop(context.Context) error { return c.unsupported("stop") }
