//go:build !linux

package control

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/segue-go/segue/handoff/timeline"
)

func (c *Client) unsupported(op string) error {
	_, _ = c.silence(), c.settle()
	return &Error{Op: op, Path: c.Path, Err: fmt.Errorf("%w on %s; chains are on Linux only", errors.ErrUnsupported, runtime.GOOS)}
}

// Status asks what the generations do.
func (c *Client) Status(context.Context) (timeline.Chain, error) {
	return timeline.Chain{}, c.unsupported("status")
}

// History asks for the records of the last handoffs.
func (c *Client) History(context.Context) ([]timeline.Handoff, error) {
	return nil, c.unsupported("history")
}

// Retire has older generations end.
func (c *Client) Retire(context.Context, int) (int, error) { return 0, c.unsupported("retire") }

// Watch tells what happens.
func (c *Client) Watch(context.Context, func(Happening)) error { return c.unsupported("watch") }

// Upgrade has the generation that serves hand over to a successor.
func (c *Client) Upgrade(context.Context, func(Event)) error { return c.unsupported("upgrade") }

// Stop ends the process that serves.
func (c *Client) Stop(context.Context) error { return c.unsupported("stop") }
