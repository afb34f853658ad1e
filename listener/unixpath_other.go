//go:build !unix || aix

package listener

import (
	"errors"
	"fmt"
)

// StatUnixPath is for Unix: elsewhere it returns an error that is [errors.ErrUnsupported].
func StatUnixPath(path string) (*UnixPath, error) {
	return nil, fmt.Errorf("listener: record the socket file %q: %w", path, errors.ErrUnsupported)
}

// Unlink is for Unix: elsewhere it returns an error that is [errors.ErrUnsupported].
func (p *UnixPath) Unlink() error { return p.remove(false) }

func (p *UnixPath) remove(bool) error {
	if p == nil || p.Path == "" {
		return nil
	}
	return fmt.Errorf("listener: unlink the socket file %q: %w", p.Path, errors.ErrUnsupported)
}
