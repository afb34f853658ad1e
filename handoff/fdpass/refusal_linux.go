package fdpass

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// refusal finds out why the kernel refused access to a process. All of it is a guess after the fact, for the operator.
func refusal(pid int, a access) error {
	f := facts{yama: yamaScope()}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	me, errMe := readStatus("/proc/thread-self")
	it, errIt := readStatus(dir)
	f.me, f.it, f.know = me, it, errMe == nil && errIt == nil
	// The directory itself always has the process's uid; what is in it has root's, if it is not dumpable (task_dump_owner
	// in fs/proc/base.c).
	if fi, err := os.Lstat(filepath.Join(dir, "fd")); err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			f.owner, f.ownerKnown = st.Uid, true
		}
	}
	mine, errMine := os.Readlink("/proc/self/ns/user")
	its, errIts := os.Readlink(filepath.Join(dir, "ns/user"))
	f.otherUserNS = errMine == nil && (errIts == nil && mine != its || errors.Is(errIts, os.ErrPermission) && f.me.capEff&capSysPtrace != 0)
	if a == attach {
		f.selfRefused = selfRefused()
	}
	return f.refused(a)
}

func readStatus(dir string) (status, error) {
	b, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return status{}, err
	}
	return parseStatus(b)
}

func yamaScope() int {
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return -1
	}
	return n
}

// selfRefused tries pidfd_getfd on this process, which ptrace's rules always allow.
func selfRefused() bool {
	n, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return errors.Is(err, unix.EPERM) // a filter that knows no pidfds refuses both
	}
	defer unix.Close(n)
	fd, err := unix.PidfdGetfd(n, n, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return errors.Is(err, unix.EPERM)
}
