package kernel

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// answer makes a probe's answer of the error of a call; missing are the errors of a kernel that does not know it, or of a filter.
func answer(err error, missing ...syscall.Errno) (bool, error) {
	for _, m := range missing {
		if errors.Is(err, m) {
			return false, nil
		}
	}
	return err == nil, err
}

func pidfdOpen() (bool, error) {
	n, err := unix.PidfdOpen(os.Getpid(), 0)
	if err == nil {
		_ = unix.Close(n)
	}
	return answer(err, unix.ENOSYS, unix.EPERM)
}

// ptrace's rules always allow a process to take from itself.
func pidfdGetfd() (bool, error) {
	n, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return answer(err, unix.ENOSYS, unix.EPERM)
	}
	defer unix.Close(n)
	fd, err := unix.PidfdGetfd(n, n, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return answer(err, unix.ENOSYS, unix.EPERM)
}

func fdCount() (bool, error) {
	var st unix.Stat_t
	err := unix.Stat("/proc/self/fd", &st)
	return st.Size > 0, err
}

func noExecSeal() (bool, error) {
	n, err := unix.MemfdCreate("segue", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if err == nil {
		_ = unix.Close(n)
	}
	return answer(err, unix.EINVAL)
}

// pair calls f with a pair of sockets, of which the first wants credentials and pidfds.
func pair(f func(mine, other int) (bool, error)) (bool, error) {
	n, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(n[0])
	defer unix.Close(n[1])
	if err := unix.SetsockoptInt(n[0], unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1); err != nil {
		return answer(err, unix.ENOPROTOOPT)
	}
	return f(n[0], n[1])
}

func passPidFD() (bool, error) {
	return pair(func(mine, _ int) (bool, error) {
		fd, err := unix.GetsockoptInt(mine, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		if err == nil {
			_ = unix.Close(fd)
		}
		return answer(err, unix.ENOPROTOOPT)
	})
}

// afterChild calls f with the pidfd of a child that was killed, and reaped. Traced, it never runs anything.
func afterChild(f func(pidfd int) (bool, error)) (bool, error) {
	pidfd := -1
	p, err := os.StartProcess("/proc/self/exe", []string{"probe"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Ptrace: true, PidFD: &pidfd}})
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(pidfd) }()
	if err := p.Kill(); err != nil {
		return false, err
	}
	if _, err := p.Wait(); err != nil {
		return false, err
	}
	return f(pidfd)
}

func hangUp() (bool, error) {
	return afterChild(func(pidfd int) (bool, error) {
		fds := []unix.PollFd{{Fd: int32(pidfd)}}
		_, err := unix.Poll(fds, 0)
		return fds[0].Revents&unix.POLLHUP != 0, err
	})
}

func getInfo() (bool, error) {
	n, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return answer(err, unix.ENOSYS, unix.EPERM)
	}
	defer unix.Close(n)
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_PID}
	return answer(unix.IoctlPidfdInfo(n, &info), unix.ENOTTY, unix.EINVAL)
}

func infoExit() (bool, error) {
	return afterChild(func(pidfd int) (bool, error) {
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		ok, err := answer(unix.IoctlPidfdInfo(pidfd, &info), unix.ENOTTY, unix.EINVAL, unix.ESRCH)
		return ok && info.Mask&unix.PIDFD_INFO_EXIT != 0, err
	})
}

// reaped has a child send a message, and reaps it before the message is read.
func reaped() (bool, error) {
	return pair(func(mine, other int) (bool, error) {
		n, err := unix.FcntlInt(uintptr(other), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return false, err
		}
		out := os.NewFile(uintptr(n), "message")
		defer out.Close()
		cmd := exec.Command("echo")
		cmd.Stdout = out
		if err := cmd.Run(); err != nil {
			return false, err
		}
		control := make([]byte, 256)
		_, size, _, _, err := unix.Recvmsg(mine, make([]byte, 16), control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			return false, err
		}
		messages, err := unix.ParseSocketControlMessage(control[:size])
		for _, m := range messages {
			if m.Header.Level != unix.SOL_SOCKET || m.Header.Type != unix.SCM_PIDFD || len(m.Data) < 4 {
				continue
			}
			if fd := int(int32(binary.NativeEndian.Uint32(m.Data))); fd >= 0 {
				_ = unix.Close(fd)
				return true, nil
			}
		}
		return false, err
	})
}
