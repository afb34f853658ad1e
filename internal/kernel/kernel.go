// Package kernel is the one table of what segue uses of newer kernels, and of what happens without. docs/operations.md has the same
// table. Whether a feature is there is found out by using it: kernels are patched and filtered (seccomp), so that a version says
// little.
package kernel

import "fmt"

// Feature is something that not every kernel from Linux 5.10 on has, or that a seccomp filter may refuse.
type Feature struct {
	Name    string
	Since   string // the version of Linux
	Without string // what happens without, in Markdown
	probe   func() (bool, error)
}

// Has uses the feature, and reports whether that works. The error is why this cannot be found out. It may be called concurrently.
func (f Feature) Has() (bool, error) { return f.probe() }

// Features of the kernel, oldest first.
var (
	PidfdOpen  = Feature{"pidfd_open(2)", "5.3", "with `SO_PASSPIDFD`, only `Config.Rescue` and package `process` fail. Without that, `Join` with a `Path` and `Upgrade` fail, and the error says that a seccomp filter refuses it", pidfdOpen}
	PidfdGetfd = Feature{"pidfd_getfd(2)", "5.6", "descriptors are sent, see How descriptors travel. `Config.Rescue` and package `process` fail", pidfdGetfd}
	FDCount    = Feature{"st_size of /proc/self/fd", "6.2", "the directory is read, which takes longer with many descriptors", fdCount}
	NoExecSeal = Feature{"MFD_NOEXEC_SEAL", "6.3", "the memory files in which state moves are not sealed against being made executable; they are not executable either way", noExecSeal}
	PassPidFD  = Feature{"SO_PASSPIDFD and SO_PEERPIDFD", "6.5", "each side opens the other by its process id (pidfd_open), and has it prove that it is the one, by an answer, before it gives, takes or kills. Both sides must be in one PID namespace, or else `Join` fails and says so", passPidFD}
	HangUp     = Feature{"EPOLLHUP of a pidfd", "6.9", "as without `PIDFD_INFO_EXIT`", hangUp}
	GetInfo    = Feature{"PIDFD_GET_INFO", "6.13", "the pidfd that comes with a message is not compared with the process id that comes with it", getInfo}
	InfoExit   = Feature{"PIDFD_INFO_EXIT", "6.15", "how a successor ended that is no child of this process is not known: each end counts as a failure, unless it has called `Close` before (`serve.Run` does)", infoExit}
	Reaped     = Feature{"pidfd of a process that was reaped", "6.17", "a process that calls when the incumbent has just died learns that later, by who answers, or that nobody does", reaped}
)

// Features returns them all, oldest first.
func Features() []Feature {
	return []Feature{PidfdOpen, PidfdGetfd, FDCount, NoExecSeal, PassPidFD, HangUp, GetInfo, InfoExit, Reaped}
}

// Need skips a test where f is missing, and says so. Where it is there, the test has to pass.
func Need(t interface {
	Helper()
	Skip(...any)
	Fatal(...any)
}, f Feature) {
	t.Helper()
	switch ok, err := f.Has(); {
	case err != nil:
		t.Fatal(fmt.Errorf("%s: %w", f.Name, err))
	case !ok:
		t.Skip("needs " + f.Name + ", Linux " + f.Since)
	}
}
