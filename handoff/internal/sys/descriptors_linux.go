package sys

import (
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// Descriptors returns how many descriptors this process has open, and how many it may have (RLIMIT_NOFILE). One is counted that is
// open only for this, where the kernel does not count by itself.
func Descriptors() (open, limit int, err error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, 0, os.NewSyscallError("getrlimit", err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/fd", &st); err != nil {
		return 0, 0, &os.PathError{Op: "stat", Path: "/proc/self/fd", Err: err}
	}
	// The directory's size is the number of open descriptors since Linux 6.2 (fs/proc/fd.c: proc_fd_getattr), and 0 before.
	if st.Size == 0 {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return 0, 0, err
		}
		st.Size = int64(len(names))
	}
	return int(st.Size), int(min(l.Cur, math.MaxInt32)), nil
}
