//go:build !linux

package listener

import "syscall"

func rawReader(syscall.RawConn) reader { return nil }
