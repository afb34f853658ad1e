package integration

import (
	"cmp"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/internal/kernel"
)

// pretend makes newer calls fail in this process, and in those that it starts, as they do on a kernel that does not know them. There
// is no package of Linux 5.10 or 5.15 that the tests could boot (make test-kernel boots 6.1), so this stands in for them.
func (c conf) pretend() error {
	if c.Kernel == "" {
		return nil
	}
	var p []unix.SockFilter
	refuse := func(call uint32, err syscall.Errno, conditions ...condition) {
		p = append(p, rule(call, unix.SECCOMP_RET_ERRNO|uint32(err), conditions...)...)
	}
	for _, option := range []uint32{unix.SO_PASSPIDFD, unix.SO_PEERPIDFD} {
		refuse(unix.SYS_SETSOCKOPT, unix.ENOPROTOOPT, condition{arg: 1, is: unix.SOL_SOCKET}, condition{arg: 2, is: option})
		refuse(unix.SYS_GETSOCKOPT, unix.ENOPROTOOPT, condition{arg: 1, is: unix.SOL_SOCKET}, condition{arg: 2, is: option})
	}
	refuse(unix.SYS_IOCTL, unix.ENOTTY, condition{arg: 1, is: unix.PIDFD_GET_INFO & 0xffff, mask: 0xffff}) // of whatever size
	refuse(unix.SYS_MEMFD_CREATE, unix.EINVAL, condition{arg: 1, is: unix.MFD_NOEXEC_SEAL, mask: unix.MFD_NOEXEC_SEAL})
	if c.Kernel == "filtered" {
		err := cmp.Or(c.Filtered, unix.EPERM)
		refuse(unix.SYS_PIDFD_OPEN, err)
		refuse(unix.SYS_PIDFD_GETFD, err)
	}
	_, err := filter(0, append(p, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}))
	return err
}

// unseen reports whether an end, by the name that tests have for it, is a wish that only the kernel tells of.
func unseen(end string) bool {
	return end == "exit 0" || end == "SIGTERM unhandled" || end == "SIGINT"
}

// tellsExit reports whether processes below a conf.Kernel learn how one ended that is no child of theirs.
func tellsExit(t *testing.T, pretended string) bool {
	t.Helper()
	tells, err := kernel.InfoExit.Has()
	if err != nil {
		t.Fatal(err)
	}
	return tells && pretended == ""
}

// condition is about the low half of an argument of a system call.
type condition struct {
	arg      int
	is, mask uint32 // no mask: all of it
}

// rule is a part of a seccomp program that ends it with action for a call under all conditions, and otherwise goes on after itself.
func rule(call, action uint32, conditions ...condition) []unix.SockFilter {
	const load, jumpEqual, and, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K,
		unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	left := uint8(3*len(conditions) + 1)
	p := []unix.SockFilter{{Code: load, K: 0}, {Code: jumpEqual, K: call, Jf: left}}
	for _, c := range conditions {
		left -= 3
		p = append(p, unix.SockFilter{Code: load, K: uint32(16 + 8*c.arg)}, unix.SockFilter{Code: and, K: cmp.Or(c.mask, 1<<32-1)},
			unix.SockFilter{Code: jumpEqual, K: c.is, Jf: left})
	}
	return append(p, unix.SockFilter{Code: ret, K: action})
}
