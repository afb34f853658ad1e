package peer

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// waiter waits in the runtime's poller until a pidfd is readable.
//
// The runtime polls only descriptors that have O_NONBLOCK, and the pidfd must not get it (see FromPidFD). So the pidfd
// goes into an epoll instance of our own, whose descriptor nobody shares, and which the runtime's epoll can watch.
type waiter struct {
	pidfd int // open until close has returned, as newWaiter demands
	file  *os.File
	raw   syscall.RawConn
	end   chan struct{} // closed when the goroutine has returned
	once  sync.Once
	err   error
}

// newWaiter borrows pidfd; it must stay open until close has returned.
func newWaiter(pidfd int) (*waiter, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, pidfd, &ev); err != nil {
		_ = unix.Close(ep)
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	if err := unix.SetNonblock(ep, true); err != nil {
		_ = unix.Close(ep)
		return nil, fmt.Errorf("set nonblocking: %w", err)
	}
	file := os.NewFile(uintptr(ep), "peer")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &waiter{pidfd: pidfd, file: file, raw: raw, end: make(chan struct{})}, nil
}

// start runs a goroutine, which calls died when the process has died. If that returns false, it calls reaped when the
// process has been reaped too. It ends after that, or at close.
//
// A pidfd gets readable by the death of the process and hangs up when it is reaped, Linux 6.9 (pidfd_poll in the
// kernel's fs/pidfs.c). Before 6.9 it never hangs up, and only close ends the goroutine.
func (w *waiter) start(died func() bool, reaped func()) {
	go func() {
		defer close(w.end)
		if w.wait() != nil || died() {
			return
		}
		var err error
		ctlErr := w.raw.Control(func(ep uintptr) {
			ev := unix.EpollEvent{} // EPOLLHUP needs not be asked for
			err = unix.EpollCtl(int(ep), unix.EPOLL_CTL_MOD, w.pidfd, &ev)
		})
		if ctlErr == nil && err == nil && w.wait() == nil {
			reaped()
		}
	}()
}

// wait returns nil when the epoll instance has something to report, and an error after close.
func (w *waiter) wait() error {
	return w.raw.Read(func(ep uintptr) bool { return pollIn(int(ep)) })
}

// close ends the goroutine and waits for it.
func (w *waiter) close() error {
	w.once.Do(func() {
		w.err = w.file.Close()
		<-w.end
	})
	return w.err
}

// pollIn reports whether fd is readable now.
func pollIn(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return err == nil && n == 1 && fds[0].Revents&unix.POLLIN != 0
		}
	}
}
