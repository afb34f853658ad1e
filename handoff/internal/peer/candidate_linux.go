package peer

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// Before Linux 6.5 the kernel names who sends by number alone. A number is opened by pidfd_open(2), and may mean another
// process by then: the one that was meant has died, and its number was given again. So what is opened is a candidate, of which
// this much is certain:
//
//   - If it is dead, so is the one that was meant: a number is given again only after its process is gone.
//   - If a message that was sent after the opening names the number, and the candidate lives still, it has sent that message:
//     from the opening on nobody else has had the number.
//
// A message proves nothing if it may have been queued before the opening: its sender may be dead. Hence [Peer.Heard] is called
// for messages only of which it is known that they were sent later. See docs/adr/0008-minimum-kernel.md.

// ErrUnproven is wrapped by an error of what must be done to no other process than the one that was meant, while that is in
// doubt.
var ErrUnproven = errors.New("the process was opened by its number and has not said anything since, so it may be another")

// Candidate opens the process that has the number pid now. It is in doubt until [Peer.Heard].
//
// The error wraps [ErrGone] if nobody has the number, or a thread has; [errors.ErrUnsupported] if pid is 0, that of a process in
// another PID namespace, or if pidfd_open(2) is filtered.
func Candidate(pid int, uid, gid uint32) (*Peer, error) {
	if pid == 0 {
		return nil, fmt.Errorf("peer: it is in another PID namespace, which needs Linux 6.5: run both in one: %w", errors.ErrUnsupported)
	}
	n, err := unix.PidfdOpen(pid, 0)
	switch {
	case err == nil:
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT): // nobody's, or a thread's
		return nil, fmt.Errorf("peer: process %d: %w: %w", pid, ErrGone, err)
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("peer: process %d cannot be identified: before Linux 6.5 that needs pidfd_open, which a seccomp filter refuses; allow it: %w: %w",
			pid, errors.ErrUnsupported, err)
	default:
		return nil, fmt.Errorf("peer: pidfd_open of process %d: %w", pid, err)
	}
	fd := listener.NewFD(n)
	p, err := fromPidFD(fd, pid, uid, gid, true)
	if err != nil {
		_ = fd.Close()
	}
	return p, err
}

// Again returns another Peer of the same process, in doubt if p is. The caller closes both.
func (p *Peer) Again() (*Peer, error) {
	fd, err := listener.Dup(p.fd)
	if err != nil {
		return nil, err
	}
	again, err := fromPidFD(fd, p.PID, p.UID, p.GID, p.Doubtful())
	if err != nil {
		_ = fd.Close()
	}
	return again, err
}

// Doubtful reports whether the peer was opened by its number, and nothing has proved yet that it is the one that was meant.
func (p *Peer) Doubtful() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.doubt
}

// Heard ends the doubt, if the peer lives: a process with the number pid has done something that names it, after the peer was
// opened. It reports whether the peer is known now.
func (p *Peer) Heard(pid int) bool {
	if pid != p.PID || p.Dead() {
		return !p.Doubtful()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubt = false
	return true
}
