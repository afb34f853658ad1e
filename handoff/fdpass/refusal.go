package fdpass

import "fmt"

// The kernel says EPERM for a dozen reasons. Here they are looked for, in the order of __ptrace_may_access in
// kernel/ptrace.c, with what an ordinary process can find out.

// access is what one process does to another.
type access bool

const (
	read   access = false // PTRACE_MODE_READ_FSCREDS, by /proc
	attach access = true  // PTRACE_MODE_ATTACH_REALCREDS, by pidfd_getfd
)

// facts are about the process that was refused, and the one that it wanted something from.
type facts struct {
	me, it      status
	know        bool   // me and it were readable
	owner       uint32 // of what is in the target's /proc/PID: root, if it is not dumpable
	ownerKnown  bool
	otherUserNS bool
	yama        int  // kernel.yama.ptrace_scope; -1 without Yama
	selfRefused bool // this process may not take its own descriptors either
}

const capSysPtrace = 1 << 19

const orElse = "give this process CAP_SYS_PTRACE, or let that one send its descriptors by SCM_RIGHTS (fdpass.Send)"

// refused is an error that is ErrRefused, names the cause if there is one to find, and the remedy.
func (f facts) refused(a access) error {
	if a == attach && f.selfRefused {
		return fmt.Errorf("%w: %w: this process may not use pidfd_getfd even on itself; allow it in the container's seccomp profile, or %s",
			ErrRefused, ErrFiltered, "let that one send its descriptors by SCM_RIGHTS (fdpass.Send)")
	}
	if !f.know {
		return f.unknown()
	}
	privileged := f.me.capEff&capSysPtrace != 0
	uid, gid := f.me.uid[0], f.me.gid[0]
	if a == read {
		uid, gid = f.me.uid[3], f.me.gid[3]
	}
	switch its := f.it; {
	case privileged && f.otherUserNS:
		return fmt.Errorf("%w: %w: it is in another user namespace, over which this process has no CAP_SYS_PTRACE; run this one in that namespace, or in a parent of it, or %s",
			ErrRefused, ErrOtherUser, "let that one send its descriptors by SCM_RIGHTS (fdpass.Send)")
	case !privileged && (!all(its.uid, uid) || !all(its.gid, gid)):
		return fmt.Errorf("%w: %w: its ids are uid %v and gid %v (real, effective, saved), those of this process %d and %d; run both as the same user and group, or %s",
			ErrRefused, ErrOtherUser, its.uid[:3], its.gid[:3], uid, gid, orElse)
	case !privileged && f.ownerKnown && f.owner != its.uid[1]:
		return fmt.Errorf("%w: %w: it changed its user, has file capabilities or an executable that it may not read, or asked for it; start it as that user (User= rather than setuid, AmbientCapabilities= rather than setcap), let it call prctl(PR_SET_DUMPABLE, 1), or %s",
			ErrRefused, ErrNotDumpable, orElse)
	case !privileged && its.capPrm&^f.me.capPrm != 0:
		return fmt.Errorf("%w: %w: it has %#x, this one %#x; run both with the same ones, or %s",
			ErrRefused, ErrPrivileged, its.capPrm, f.me.capPrm, orElse)
	case a == attach && f.yama == 1 && !privileged:
		return fmt.Errorf("%w: %w: kernel.yama.ptrace_scope is 1, and that process is no descendant of this one; let it call prctl(PR_SET_PTRACER) for this one, or %s",
			ErrRefused, ErrYama, orElse)
	case a == attach && f.yama == 2 && !privileged:
		return fmt.Errorf("%w: %w: kernel.yama.ptrace_scope is 2; %s", ErrRefused, ErrYama, orElse)
	case a == attach && f.yama >= 3:
		return fmt.Errorf("%w: %w: kernel.yama.ptrace_scope is %d, for everybody and until the next boot; let that process send its descriptors by SCM_RIGHTS (fdpass.Send)",
			ErrRefused, ErrYama, f.yama)
	}
	return f.unknown()
}

func (facts) unknown() error {
	return fmt.Errorf("%w: the cause was not found; a security module (SELinux, AppArmor, Landlock) or another user namespace, perhaps; %s", ErrRefused, orElse)
}

// all reports whether real, effective and saved id are id.
func all(ids [4]uint32, id uint32) bool { return ids[0] == id && ids[1] == id && ids[2] == id }
