package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/listener"
)

// Process is a running process, with its descendants. It holds pidfds (pidfd_open(2)), so that it means the same processes
// for ever, whoever gets their numbers next. Its methods may be called by several goroutines at once.
type Process struct {
	pid int

	look sync.Mutex // one look at a time

	mu      sync.Mutex
	closed  bool
	refused int             // see Refused
	held    map[int]*handle // this process, and those descendants that had sockets at the last look
}

// handle is a process that is held: what package fdpass has, and a pidfd to send signals by.
type handle struct {
	*fdpass.Process
	pidfd *listener.FD
}

// hold opens a process. That both pidfds are of one process is sure if the first lives when the second is open.
func hold(pid int) (*handle, error) {
	p, err := fdpass.OpenProcess(pid)
	if err != nil {
		return nil, err
	}
	n, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if gone := p.Alive(); gone != nil {
			err = gone
		}
		_ = p.Close()
		return nil, err
	}
	h := &handle{Process: p, pidfd: listener.NewFD(n)}
	if err := h.Alive(); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *handle) close() {
	_ = h.Process.Close()
	_ = h.pidfd.Close()
}

// signal sends by pidfd_send_signal(2), which cannot reach another process that has the number by now.
func (h *handle) signal(sig syscall.Signal) error {
	var opErr error
	if err := h.pidfd.Control(func(n uintptr) {
		opErr = unix.PidfdSendSignal(int(n), sig, nil, 0)
	}); err != nil {
		return err
	}
	switch {
	case opErr == nil:
		return nil
	case errors.Is(opErr, unix.ESRCH):
		return fmt.Errorf("%w: %w", ErrGone, opErr)
	case errors.Is(opErr, unix.EPERM):
		return fmt.Errorf("%w: only its user and root (CAP_KILL) may send it a signal: %w", ErrRefused, opErr)
	}
	return os.NewSyscallError("pidfd_send_signal", opErr)
}

// Open holds the process with this number. It needs no privilege. The caller calls Close.
//
// Errors: [ErrGone]; another for the number of a thread; [errors.ErrUnsupported] before Linux 5.3, and elsewhere.
func Open(pid int) (*Process, error) {
	if pid <= 0 {
		return nil, fmt.Errorf("process: %d is not the number of a process", pid)
	}
	h, err := hold(pid)
	if err != nil {
		return nil, fmt.Errorf("process: %w", withState(pid, err))
	}
	return &Process{pid: pid, held: map[int]*handle{pid: h}}, nil
}

// withState says of a process that is gone whether it is a zombie, as far as anybody can still tell; and of one that has
// not what it had whether it is about to be gone.
func withState(pid int, err error) error {
	if errors.Is(err, fdpass.ErrNotOpen) {
		if gone := ended(pid); gone != nil {
			err = fmt.Errorf("%w: %w", gone, err)
		}
	}
	if errors.Is(err, ErrGone) {
		if st, stErr := statOf(pid); stErr == nil && st.state == 'Z' {
			return fmt.Errorf("it is a zombie, ended but not waited for by its parent (process %d); its sockets are closed: %w", st.parent, err)
		}
	}
	return err
}

// PID is the process's number.
func (p *Process) PID() int { return p.pid }

// Alive returns nil while the process runs, and otherwise an error that is [ErrGone]. A zombie is gone.
func (p *Process) Alive() error {
	h, err := p.handle(p.pid)
	if err != nil {
		return err
	}
	if err := h.Alive(); err != nil {
		return fmt.Errorf("process: %w", withState(p.pid, err))
	}
	return nil
}

func (p *Process) handle(pid int) (*handle, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("process: %w", os.ErrClosed)
	}
	h := p.held[pid]
	if h == nil {
		return nil, fmt.Errorf("process: process %d was not looked at, or held nothing: %w", pid, ErrChanged)
	}
	return h, nil
}

// List returns the sockets that the process and its descendants listen on, or are bound to for datagrams, each of them
// once, in the order of networks and addresses. It reads /proc, and takes a copy of each socket for an instant to ask for
// its details; if that is refused, they stay zero. Descendants that may not be looked at are passed over; [Process.Refused]
// says how many.
//
// Errors: [ErrGone], also for a process that is ending; [ErrRefused]; EMFILE; a context's cause.
func (p *Process) List(ctx context.Context) ([]Socket, error) {
	all, _, err := p.listAll(ctx)
	return all, err
}

// listAll is List; missed says why there may be more.
func (p *Process) listAll(ctx context.Context) (all []Socket, missed, err error) {
	s, err := p.survey(ctx)
	if noRoom(err) {
		return nil, nil, fmt.Errorf("process: list the sockets of process %d: nothing is known of it, for want of descriptors or memory here; raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE=): %w", p.pid, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("process: list the sockets of process %d: %w", p.pid, err)
	}
	p.mu.Lock()
	p.refused = len(s.refused)
	p.mu.Unlock()
	return s.list(), s.missed(), nil
}

// Refused returns how many descendants the last List passed over, because they may not be looked at: they changed their
// user, for example, or are not dumpable. They may have sockets.
func (p *Process) Refused() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// ownSockets returns the inodes of the sockets that this process holds.
func ownSockets() (map[uint64]bool, error) {
	looked, err := lookAt(os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("process: look at the sockets of this process: %w", err)
	}
	held := map[uint64]bool{}
	for ino := range looked.sockets {
		held[ino] = true
	}
	return held, nil
}

// setBlocking clears O_NONBLOCK, for all that share the socket.
func setBlocking(fd *listener.FD) error {
	var opErr error
	err := fd.Control(func(n uintptr) { opErr = unix.SetNonblock(int(n), false) })
	return errors.Join(err, opErr)
}

// Take takes a copy of a socket that List returned, from the first of its holders that still has it. The process keeps its
// own and does not notice. The caller closes what it gets, which is close-on-exec.
//
// It is made sure that it is that socket: its inode, its cookie if that is known, its network and address, and that it
// still listens.
//
// Errors: [ErrGone], [ErrRefused], [ErrChanged], EMFILE.
func (p *Process) Take(s Socket) (*listener.FD, error) {
	var errs []error
	for _, holder := range s.Holders {
		h, err := p.handle(holder.PID)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, n := range holder.FDs {
			fd, err := take(h.Process, n, s)
			if err == nil {
				return fd, nil
			}
			errs = append(errs, fmt.Errorf("process: %w", withState(holder.PID, err)))
		}
	}
	// The first says most: the process itself is asked before its children.
	if len(errs) == 0 {
		return nil, fmt.Errorf("process: %s: nobody is known to hold it; take what List returned: %w", s, ErrChanged)
	}
	return nil, errs[0]
}

func take(p *fdpass.Process, n int, s Socket) (*listener.FD, error) {
	fd, err := p.GetInode(n, s.Inode)
	if err != nil {
		return nil, err
	}
	if err := verify(fd, s); err != nil {
		_ = fd.Close()
		return nil, fmt.Errorf("descriptor %d of process %d: %w", n, p.PID(), err)
	}
	return fd, nil
}

// verify compares what was taken with what was looked at.
func verify(fd *listener.FD, s Socket) error {
	i, err := listener.Describe(fd)
	switch {
	case err != nil:
		return err
	case !i.Socket, i.Network != s.Network, i.Address != s.Address && !s.sameAs(i.Address), s.Cookie != 0 && i.Cookie != s.Cookie:
		return fmt.Errorf("%w: it is %s %s, not %s %s; look again", ErrChanged, i.Network, printable(i.Address), s.Network, printable(s.Address))
	case s.Listening && !i.Listening:
		return fmt.Errorf("%w: %s %s does not listen any more", ErrChanged, s.Network, printable(s.Address))
	}
	return nil
}

// sameAs compares addresses where the tables say less than the socket itself: they have no zone.
func (s Socket) sameAs(address string) bool {
	return compareAddress(withoutZone(address), s.Address) == 0
}

// Signal sends a signal to the process itself, not to its descendants; os.Process.Signal might reach another that has its
// number by now.
//
// Errors: [ErrGone], [ErrRefused] for another user's process.
func (p *Process) Signal(sig syscall.Signal) error {
	h, err := p.handle(p.pid)
	if err == nil {
		err = h.signal(sig)
	}
	if err != nil {
		return fmt.Errorf("process: send %s to process %d: %w", sig, p.pid, err)
	}
	return nil
}

// Close lets go of the process, which goes on. What was taken stays open. It is idempotent.
func (p *Process) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, h := range p.held {
		h.close()
	}
	p.held = nil
	return nil
}

// keep adds the processes of a look to those that are held, and closes those that have ended. Those that hold no socket
// any more stay: somebody may be about to take what an earlier look found there.
func (p *Process) keep(looked map[int]*handle) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		for pid, h := range looked {
			if p.held[pid] != h {
				h.close()
			}
		}
		return os.ErrClosed
	}
	for pid, h := range looked {
		p.held[pid] = h
	}
	for pid, h := range p.held {
		if pid != p.pid && looked[pid] == nil && h.Alive() != nil {
			h.close()
			delete(p.held, pid)
		}
	}
	return nil
}
