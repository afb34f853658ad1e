//go:build !linux

package main

import "io"

// terminalOf is for what only Linux has.
func terminalOf(io.Writer) terminal { return terminal{} }
