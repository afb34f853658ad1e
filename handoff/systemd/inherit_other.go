//go:build !linux

package systemd

import (
	"errors"
	"log/slog"
)

// readEnvironment finds nothing: systemd is on Linux only.
func readEnvironment(*slog.Logger) ([]*given, error) { return nil, nil }

func pidFDID(int) (uint64, error) { return 0, errors.ErrUnsupported }
