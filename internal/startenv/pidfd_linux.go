package startenv

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// PidFDID is the inode number of a pidfd of a process, by which systemd 257 and later name it. Before Linux 6.9 all pidfds
// have the same; the error is errors.ErrUnsupported then.
func PidFDID(pid int) (uint64, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Fstatfs(fd, &fs), unix.Fstat(fd, &st)); err != nil {
		return 0, err
	}
	if fs.Type != unix.PID_FS_MAGIC {
		return 0, errors.ErrUnsupported
	}
	return st.Ino, nil
}
