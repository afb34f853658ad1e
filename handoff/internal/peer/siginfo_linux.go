package peer

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfo is what waitid(2) fills of siginfo_t, whose tail package unix does not name. The union is aligned as a
// pointer is: there are 4 bytes before it where a pointer has 8.
type siginfo struct {
	info unix.Siginfo
}

// child is the union's member for SIGCHLD.
type child struct {
	pid, uid, status int32
}

const (
	cldExited = 1 // CLD_EXITED; also killed 2, dumped 3
	cldDumped = 3
)

func (s *siginfo) raw() *unix.Siginfo { return &s.info }

// exit returns nil if no child had changed state.
func (s *siginfo) exit() *Exit {
	const align = unsafe.Alignof(uintptr(0))
	const union = (3*4 + align - 1) / align * align
	c := (*child)(unsafe.Add(unsafe.Pointer(&s.info), union))
	switch {
	case s.info.Signo != int32(unix.SIGCHLD) || s.info.Code < cldExited || s.info.Code > cldDumped:
		return nil
	case s.info.Code == cldExited:
		return &Exit{Code: int(c.status)}
	}
	return &Exit{Signal: syscall.Signal(c.status)}
}
