package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/process"
)

// plainError says in plain words what the errors of the packages say for programmers.
type plainError struct {
	msg string
	err error
}

func (e *plainError) Error() string { return e.msg }
func (e *plainError) Unwrap() error { return e.err }

// plainly translates the error if the kernel refused something of process pid: what is in the way, and what to do.
func (e env) plainly(err error, pid int) error {
	if !errors.Is(err, process.ErrRefused) {
		return err
	}
	remedy := "run this as root"
	if e.root {
		remedy = "run this with CAP_SYS_PTRACE over it: on the host, if this is a container"
	}
	var why string
	switch {
	case errors.Is(err, fdpass.ErrFiltered):
		why, remedy = "this program may not take descriptors, not even its own", "allow pidfd_getfd in the container's seccomp profile"
	case errors.Is(err, fdpass.ErrOtherUser) && e.root:
		// That it is in another namespace is inferred, if not even that may be looked at.
		why = fmt.Sprintf("this root has no power over process %d, which is in another user namespace, or protected by a security module", pid)
	case errors.Is(err, fdpass.ErrOtherUser):
		why = fmt.Sprintf("process %d runs as another user or group%s", pid, ids(pid))
		remedy = "run this as that user and group, or as root"
	case errors.Is(err, fdpass.ErrNotDumpable):
		why = fmt.Sprintf("process %d is protected (not dumpable): it changed its user, or has capabilities of its own", pid)
	case errors.Is(err, fdpass.ErrPrivileged):
		why = fmt.Sprintf("process %d has capabilities that this program has not", pid)
	case errors.Is(err, fdpass.ErrYama):
		scope := yama()
		why = fmt.Sprintf("kernel.yama.ptrace_scope is %s, which forbids taking sockets from process %d", scope, pid)
		switch {
		case scope == "3":
			remedy = "nobody may until the next boot"
		case e.root:
			remedy = "run this with CAP_SYS_PTRACE"
		}
	default:
		why = fmt.Sprintf("the kernel forbids it for process %d, perhaps by a security module (SELinux, AppArmor, Landlock)", pid)
		if e.root {
			remedy = "see the kernel's log"
		}
	}
	return &plainError{why + "; " + remedy, err}
}

// leftOut says what is missing in a list of everything.
func (e env) leftOut(n int) string {
	what := fmt.Sprintf("those of %d processes", n)
	if n == 1 {
		what = "those of one process"
	}
	if e.root {
		return "left out " + what + " that not even this root may look at, because of a user namespace or a security module perhaps"
	}
	return "left out " + what + " that this user may not look at; run as root to see them"
}

// ids returns what anybody may read of a process: whose it is.
func ids(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	var uid, gid string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Uid:" {
			uid = f[1]
		} else if len(f) > 1 && f[0] == "Gid:" {
			gid = f[1]
		}
	}
	return fmt.Sprintf(" (uid %s, gid %s)", uid, gid)
}

// yama returns what restricts ptrace(2).
func yama() string {
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil {
		return "not 0"
	}
	return strings.TrimSpace(string(b))
}
