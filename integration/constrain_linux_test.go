package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	sockets "github.com/segue-go/segue/handoff/process"
)

// constrain does to this process what keeps it, or others, from taking descriptors, and configures what is concerned.
func (c conf) constrain(h *handoff.Config, e *emitter) {
	switch c.Transport {
	case "scm_rights":
		h.Transport = handoff.TransportSCMRights
	case "pidfd":
		h.Transport = handoff.TransportPidfd
	}
	if c.Rescue != "" {
		h.Rescue = sockets.Rescue
	}
	switch {
	case c.Deaf:
		h.Authorize = func(handoff.Peer) error {
			e.emit(event{Ev: "deaf"})
			select {}
		}
	case c.Nobody:
		h.Authorize = func(handoff.Peer) error { return errors.New("the test lets nobody in") }
	case c.Rescue == "all", c.Everyone:
		h.Authorize = func(handoff.Peer) error { return nil }
	}
	var errs []error
	if c.SetUID != 0 {
		errs = append(errs, syscall.Setgroups(nil), syscall.Setresgid(c.SetUID, c.SetUID, c.SetUID),
			syscall.Setresuid(c.SetUID, c.SetUID, c.SetUID))
	}
	if c.Undumpable {
		errs = append(errs, unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
	}
	if c.Seccomp != 0 {
		for _, call := range []uint32{unix.SYS_PIDFD_GETFD, unix.SYS_PIDFD_OPEN} {
			_, err := filter(0, match(call, unix.SECCOMP_RET_ERRNO|uint32(c.Seccomp)))
			errs = append(errs, err)
		}
	}
	if c.Ptracer {
		errs = append(errs, traced(e))
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(64)
	}
}

// self is this process's number in the PID namespace of /proc, which is the test's also where this process's is another.
// In one with a /proc of its own, the environment has it.
var self = sync.OnceValue(func() int {
	if n, err := strconv.Atoi(os.Getenv("SEGUE_TEST_PID")); err == nil {
		return n
	}
	link, err := os.Readlink("/proc/self")
	if err != nil {
		return os.Getpid()
	}
	n, err := strconv.Atoi(filepath.Base(link))
	if err != nil {
		return os.Getpid()
	}
	return n
})

// match is a seccomp program that does action for a system call, if the low halves of its first arguments are args.
func match(call uint32, action uint32, args ...uint32) []unix.SockFilter {
	const load, jumpEqual, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	left := uint8(2*len(args) + 1)
	p := []unix.SockFilter{{Code: load, K: 0}, {Code: jumpEqual, K: call, Jf: left}}
	for i, arg := range args {
		left -= 2
		p = append(p, unix.SockFilter{Code: load, K: uint32(16 + 8*i)}, unix.SockFilter{Code: jumpEqual, K: arg, Jf: left})
	}
	return append(p, unix.SockFilter{Code: ret, K: action}, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
}

// filter installs a seccomp program for all threads of this process.
func filter(flags uintptr, p []unix.SockFilter) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// With TSYNC the other threads get it from this one.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, err
	}
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	n, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags|unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return -1, os.NewSyscallError("seccomp", errno)
	}
	return int(n), nil
}

// seccomp_notif and seccomp_notif_resp of linux/seccomp.h, and the ioctls that go with them.
type (
	notification struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	response struct {
		id    uint64
		val   int64
		errno int32
		flags uint32
	}
)

const (
	notifRecv = 0xc0502100
	notifSend = 0xc0182101
)

// traced makes an event of each prctl(PR_SET_PTRACER), which then succeeds though there is no Yama.
func traced(e *emitter) error {
	fd, err := filter(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH,
		match(unix.SYS_PRCTL, unix.SECCOMP_RET_USER_NOTIF, unix.PR_SET_PTRACER))
	if err != nil {
		return err
	}
	go func() {
		for {
			var n notification
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), notifRecv, uintptr(unsafe.Pointer(&n)))
			if errno == syscall.EINTR || errno == syscall.ENOENT {
				continue
			}
			if errno != 0 {
				return
			}
			e.emit(event{Ev: "ptracer", N: int(n.args[1])})
			r := response{id: n.id}
			_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), notifSend, uintptr(unsafe.Pointer(&r)))
		}
	}()
	return nil
}
