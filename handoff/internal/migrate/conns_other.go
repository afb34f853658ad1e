//go:build !linux

package migrate

import (
	"context"
	"errors"
	"fmt"
)

// moves is empty where connections cannot move.
type moves struct{}

func (c *Conns) init() {}

// Close makes Take end.
func (c *Conns) Close() { c.gifts.close() }

func (c *Conns) give(*gift) error { return fmt.Errorf("%w: %w", ErrNoSuccessor, errors.ErrUnsupported) }

// Count returns how many connections have come and left so far: none.
func (c *Conns) Count() (arrived, moved int) { return 0, 0 }

// Arrived returns how many connections came to the program so far: none.
func (c *Conns) Arrived() int { return 0 }

// Quiesce has nothing to wait for.
func (c *Conns) Quiesce(context.Context, <-chan struct{}, int) (more bool) { return false }

// AwaitReturn has nothing to wait for.
func (c *Conns) AwaitReturn(context.Context) {}

// Waiting counts nothing.
func (c *Conns) Waiting() (parked, untaken int) { return 0, 0 }
