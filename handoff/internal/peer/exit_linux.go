package peer

import (
	"context"

	"golang.org/x/sys/unix"
)

// Exit tells how the process ended; false if that is not known, or not yet. It asks the kernel and does not wait. After
// Close it says what was last known.
//
// Found on Linux 6.18, and a test each: of our own child the status is known once Done is closed, whether the child has
// been reaped (os/exec's Wait) or not. Of another's child it is known only once its parent has reaped it; for a zombie
// the kernel has no answer. A shell or an init reaps at once, but after Done all the same; see [Peer.WaitExit]. Kernels
// before 6.15 (PIDFD_INFO_EXIT) know nothing of a process that is reaped.
func (p *Peer) Exit() (Exit, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.learnExit()
	if p.exit == nil {
		return Exit{}, false
	}
	return *p.exit, true
}

// WaitExit is Exit, but waits until the answer is there: until the process has died, and been reaped if it is not our
// child. It gives up when ctx ends, and returns at once after Close. Bound ctx: a parent may never reap. Where the kernel
// never tells of a process that is not our child, it returns at the death.
func (p *Peer) WaitExit(ctx context.Context) (Exit, bool) {
	select {
	case <-p.done:
		if e, ok := p.Exit(); ok || !p.mayTell() {
			return e, ok
		}
	case <-p.wait.end:
	case <-ctx.Done():
	}
	select {
	case <-p.wait.end:
	case <-ctx.Done():
	}
	return p.Exit()
}

// mayTell reports whether the kernel may come to know how a dead process ended: whether it has PIDFD_GET_INFO. Before 6.9 a pidfd
// does not tell either that the process was reaped.
func (p *Peer) mayTell() (may bool) {
	_ = p.fd.Control(func(n uintptr) { // the error is that p is closed
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		may = unix.IoctlPidfdInfo(int(n), &info) != unix.ENOTTY
	})
	return may
}

// learnExit sets p.exit if the kernel knows it. The caller holds p.mu.
func (p *Peer) learnExit() {
	if p.exit != nil {
		return
	}
	_ = p.fd.Control(func(n uintptr) { // the error is that p is closed
		p.exit = exitStatus(int(n))
	})
}

func exitStatus(pidfd int) *Exit {
	if e := exitOfReaped(pidfd); e != nil {
		return e
	}
	if e := exitOfZombie(pidfd); e != nil {
		return e
	}
	return exitOfReaped(pidfd) // somebody reaped it between the two
}

// exitOfReaped asks for what the kernel kept when the process was reaped, see pidfs_exit in the kernel's fs/pidfs.c.
func exitOfReaped(pidfd int) *Exit {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(pidfd, &info); err != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return nil
	}
	e := exitOf(uint32(info.Exit_code))
	return &e
}

// exitOfZombie asks about our own child and leaves it for whoever waits for it (WNOWAIT).
func exitOfZombie(pidfd int) *Exit {
	var info siginfo
	for {
		err := unix.Waitid(unix.P_PIDFD, pidfd, info.raw(), unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil { // ECHILD: not our child, or reaped already
			return nil
		}
		return info.exit()
	}
}
