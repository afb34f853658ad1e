package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// terminalOf says what w is. Colors are for terminals only, and NO_COLOR (no-color.org) forbids them.
func terminalOf(w io.Writer) terminal {
	if o, ok := w.(*output); ok {
		w = o.w
	}
	f, ok := w.(*os.File)
	if !ok {
		return terminal{}
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return terminal{}
	}
	var t terminal
	_ = raw.Control(func(n uintptr) {
		if size, err := unix.IoctlGetWinsize(int(n), unix.TIOCGWINSZ); err == nil {
			t.width = int(size.Col)
			t.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		}
	})
	return t
}
