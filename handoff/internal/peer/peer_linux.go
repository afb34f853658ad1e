package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/listener"
)

// Peer is another process, held by its pidfd. Its methods may be called by several goroutines at once, also after Close.
type Peer struct {
	// PID is the process, as our PID namespace numbers it; 0 if it has no number there.
	PID int
	// UID and GID are what the kernel said when the peer was identified.
	UID, GID uint32

	self bool
	done chan struct{}
	wait *waiter

	mu    sync.Mutex // guards what follows; Close takes it, so that no method uses a closed number
	fd    *listener.FD
	doubt bool // see Candidate
	dead  bool
	exit  *Exit
}

// FromMessage makes a Peer of the sender of m, received with [fdpass.PassCred] on. It takes m.PidFD; on error that
// stays in m.
//
// Errors: [ErrNoCred], and [ErrGone] when credentials came without a pidfd.
func FromMessage(m *fdpass.Message) (*Peer, error) {
	if m == nil || m.Cred == nil {
		return nil, fmt.Errorf("peer: %w: the message came without; call fdpass.PassCred before the other side sends", ErrNoCred)
	}
	if m.PidFD == nil {
		return nil, fmt.Errorf("peer: process %d: %w: it exited, or sent before fdpass.PassCred was called", m.Cred.PID, ErrGone)
	}
	p, err := FromPidFD(m.PidFD, m.Cred.PID, m.Cred.UID, m.Cred.GID)
	if err != nil {
		return nil, err
	}
	m.PidFD = nil
	return p, nil
}

// FromPidFD makes a Peer of a pidfd and of what else is known about the process. It takes fd; on error fd stays the
// caller's. The flags of fd are not touched: a duplicate may be in use elsewhere, such as in os/exec, whose Wait
// fails on a pidfd that does not block.
//
// The error wraps [ErrGone] if fd is nil or no pidfd, or if the kernel says that it is not of the process pid.
func FromPidFD(fd *listener.FD, pid int, uid, gid uint32) (*Peer, error) {
	return fromPidFD(fd, pid, uid, gid, false)
}

func fromPidFD(fd *listener.FD, pid int, uid, gid uint32, doubt bool) (*Peer, error) {
	if fd == nil {
		return nil, fmt.Errorf("peer: process %d: %w", pid, ErrGone)
	}
	p := &Peer{PID: pid, UID: uid, GID: gid, self: pid == os.Getpid(), done: make(chan struct{}), fd: fd, doubt: doubt}
	var opErr error
	err := fd.Control(func(n uintptr) {
		if opErr = checkPidFD(int(n), pid); opErr == nil {
			p.wait, opErr = newWaiter(int(n))
		}
	})
	if err == nil {
		err = opErr
	}
	if err != nil {
		return nil, fmt.Errorf("peer: process %d: %w", pid, err)
	}
	p.wait.start(p.died, p.reaped)
	return p, nil
}

// died is called once, in the waiter's goroutine. It reports whether the exit status is known, so that there is nothing
// more to wait for.
func (p *Peer) died() bool {
	p.mu.Lock()
	p.dead = true
	p.learnExit()
	known := p.exit != nil
	p.mu.Unlock()
	close(p.done)
	return known
}

// reaped is called after died, unless that returned true.
func (p *Peer) reaped() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.learnExit()
}

// checkPidFD sends no signal, which is how to ask whether n is a pidfd at all: EBADF if not. Whether the process still
// lives does not matter here (ESRCH), nor whether we may signal it (EPERM, or EINVAL across PID namespaces).
func checkPidFD(n, pid int) error {
	if err := unix.PidfdSendSignal(n, 0, nil, 0); err == unix.EBADF {
		return fmt.Errorf("%w: the descriptor is none: %w", ErrGone, err)
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_PID}
	if err := unix.IoctlPidfdInfo(n, &info); err != nil {
		return nil // the kernel is older than 6.13, or the process is gone
	}
	if got := int(info.Tgid); info.Mask&unix.PIDFD_INFO_PID != 0 && got != 0 && got != pid {
		return fmt.Errorf("%w: the descriptor is of process %d", ErrGone, got)
	}
	return nil
}

// Process lets descriptors be taken from the peer, which may be in doubt. The caller closes it.
func (p *Peer) Process() (*fdpass.Process, error) {
	fd, err := listener.Dup(p.fd)
	if err != nil {
		return nil, err
	}
	process, err := fdpass.NewProcess(fd)
	if err != nil {
		_ = fd.Close()
		return nil, err
	}
	return process, nil
}

// Self reports whether the peer is our own process.
func (p *Peer) Self() bool { return p.self }

// Done is closed once the process has died, that is all of its threads; it may be a zombie still. It is not closed by
// Close.
func (p *Peer) Done() <-chan struct{} { return p.done }

// Dead asks the kernel whether the process has died. Unlike Done it is never late. After Close it says what was last
// known.
func (p *Peer) Dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return true
	}
	_ = p.fd.Control(func(n uintptr) { // the error is that p is closed
		p.dead = pollIn(int(n))
	})
	return p.dead
}

// Await waits until the process has died, for at most d, or until ctx ends, and reports whether it is dead.
func (p *Peer) Await(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.done:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return p.Dead()
}

// Kill sends SIGKILL and returns at once; wait for Done. It returns nil also if the process is dead already.
//
// Errors: [ErrSelf]; [ErrUnproven]; [ErrForbidden] with EPERM for another user's process, or EINVAL for one outside our PID namespace
// and its descendants (pidfd_send_signal(2)); net.ErrClosed after Close.
func (p *Peer) Kill() error {
	if p.self {
		return ErrSelf
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.doubt && !p.dead {
		return fmt.Errorf("peer: kill process %d: %w", p.PID, ErrUnproven)
	}
	var opErr error
	if err := p.fd.Control(func(n uintptr) {
		opErr = unix.PidfdSendSignal(int(n), unix.SIGKILL, nil, 0)
	}); err != nil {
		return fmt.Errorf("peer: kill process %d: %w", p.PID, err)
	}
	switch opErr {
	case nil, unix.ESRCH:
		return nil
	case unix.EPERM:
		return fmt.Errorf("peer: %w: process %d is of uid %d, or a security module forbids it: %w", ErrForbidden, p.PID, p.UID, opErr)
	case unix.EINVAL:
		return fmt.Errorf("peer: %w: process %d is not in our PID namespace: %w", ErrForbidden, p.PID, opErr)
	}
	return fmt.Errorf("peer: kill process %d: %w", p.PID, opErr)
}

// Close lets go of the process, which lives on, and waits for the goroutine behind Done. It is idempotent.
func (p *Peer) Close() error {
	err := p.wait.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(err, p.fd.Close())
}
