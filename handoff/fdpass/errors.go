package fdpass

import "errors"

// What the errors of [Process] and [Reopen] are, for errors.Is. They wrap the system's error too, and say what to do.
var (
	// ErrGone: the process does not exist any more, or is a zombie, whose descriptors are closed already (ESRCH).
	ErrGone = errors.New("the process is gone")

	// ErrNotOpen: the process has no such descriptor (EBADF); any more, perhaps.
	ErrNotOpen = errors.New("no such descriptor is open there")

	// ErrChanged: the descriptor's number means another file by now, or the process's number another process.
	ErrChanged = errors.New("it is not what was looked at")

	// ErrSocket: a socket cannot be opened again by procfs (ENXIO): it has no file of its own, only a description, which
	// [Process.Get], or [Send] on the other side, can share.
	ErrSocket = errors.New("a socket cannot be reopened, only shared")

	// ErrAnonymous: nor can what has no inode of its own: eventfd, epoll, timerfd, signalfd, inotify and their like.
	ErrAnonymous = errors.New("an anonymous inode cannot be reopened, only shared")

	// ErrRefused: the kernel does not let this process do this to that one (EPERM, EACCES). The causes below come with it,
	// if one of them was found.
	ErrRefused = errors.New("refused")
)

// Why the kernel refused: these come together with [ErrRefused].
var (
	// ErrOtherUser: the process has other user or group ids, and CAP_SYS_PTRACE is missing over its user namespace.
	ErrOtherUser = errors.New("it runs as another user")

	// ErrNotDumpable: the process is not dumpable (PR_SET_DUMPABLE(2const)): it changed its ids, or has file capabilities,
	// or an executable that it may not read, or said so itself. A Go process becomes so by starting another with
	// SysProcAttr.Credential: until execve(2), they share the memory that the flag belongs to.
	ErrNotDumpable = errors.New("it is not dumpable")

	// ErrPrivileged: the process has capabilities that this one has not.
	ErrPrivileged = errors.New("it has more capabilities than this process")

	// ErrYama: kernel.yama.ptrace_scope restricts it.
	ErrYama = errors.New("the Yama security module restricts ptrace")

	// ErrFiltered: not even for itself may this process do that: a seccomp filter is in the way, of a container probably.
	ErrFiltered = errors.New("a seccomp filter or security module forbids it")
)
