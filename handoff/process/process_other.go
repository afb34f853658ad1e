//go:build !linux

package process

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"github.com/segue-go/segue/listener"
)

func unsupported(op string) error {
	return fmt.Errorf("process: %s: %w on %s; taking sockets out of a process needs Linux", op, errors.ErrUnsupported, runtime.GOOS)
}

// Process cannot be opened here: only Linux is supported.
type Process struct{}

// Open returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func Open(int) (*Process, error) { return nil, unsupported("open") }

// All returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func All(context.Context) (all []Socket, refused int, err error) { return nil, 0, unsupported("list") }

// PID returns 0.
func (*Process) PID() int { return 0 }

// Alive returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func (*Process) Alive() error { return unsupported("look") }

// List returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func (*Process) List(context.Context) ([]Socket, error) { return nil, unsupported("list") }

// Refused returns 0.
func (*Process) Refused() int { return 0 }

func (*Process) listAll(context.Context) (all []Socket, missed, err error) {
	return nil, nil, unsupported("list")
}

func ownSockets() (map[uint64]bool, error) { return nil, unsupported("look") }

func setBlocking(*listener.FD) error { return unsupported("restore") }

// Take returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func (*Process) Take(Socket) (*listener.FD, error) { return nil, unsupported("take") }

// Signal returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func (*Process) Signal(syscall.Signal) error { return unsupported("signal") }

// SignalIdle returns an error that is [errors.ErrUnsupported]: only Linux is supported.
func (*Process) SignalIdle(context.Context, syscall.Signal, ...Socket) error {
	return unsupported("signal")
}

// Close does nothing.
func (*Process) Close() error { return nil }
