package main

import (
	"errors"
	"fmt"

	"github.com/segue-go/segue/handoff/fdpass"
)

// refusalError says in plain words why the kernel does not let this program at a process, and what to do.
type refusalError struct {
	pid  int
	root bool // this program runs as root
	err  error
}

// plainly makes a refusalError of an error that is a refusal.
func plainly(pid int, root bool, err error) error {
	if !errors.Is(err, fdpass.ErrRefused) {
		return err
	}
	return &refusalError{pid, root, err}
}

func (e *refusalError) Error() string {
	remedy := "run segue as root"
	if e.root {
		remedy = "give segue CAP_SYS_PTRACE, which root has lost here, as in a container"
	}
	switch {
	case errors.Is(e.err, fdpass.ErrFiltered):
		return "a seccomp filter, probably of a container, forbids segue to take descriptors (pidfd_getfd); allow it there, or run segue outside"
	case errors.Is(e.err, fdpass.ErrOtherUser) && e.root:
		return fmt.Sprintf("process %d is in another user namespace, or %s; run segue in that namespace", e.pid, "this one's root may not look at others (CAP_SYS_PTRACE)")
	case errors.Is(e.err, fdpass.ErrOtherUser):
		return fmt.Sprintf("process %d runs as another user; run segue as that user, or as root", e.pid)
	case errors.Is(e.err, fdpass.ErrNotDumpable):
		return fmt.Sprintf("process %d is closed even to its own user, because it changed its user or has privileges from its file; %s", e.pid, remedy)
	case errors.Is(e.err, fdpass.ErrPrivileged):
		return fmt.Sprintf("process %d has privileges (capabilities) that segue has not; %s", e.pid, remedy)
	case errors.Is(e.err, fdpass.ErrYama):
		return fmt.Sprintf("this system lets no ordinary user take descriptors of a process that is not their child (kernel.yama.ptrace_scope); %s, unless that is 3, which forbids it to everybody", remedy)
	default:
		return e.err.Error()
	}
}

func (e *refusalError) Unwrap() error { return e.err }
