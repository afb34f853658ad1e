//go:build !linux

package systemd

import "log/slog"

// readEnvironment finds nothing: systemd is on Linux only.
func readEnvironment(*slog.Logger) ([]*given, error) { return nil, nil }
