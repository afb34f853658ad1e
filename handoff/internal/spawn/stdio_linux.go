package spawn

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/listener"
)

// Stdio is standard output and error of this process, if another generation has started it. The zero value is for a process
// that was started otherwise, of which it changes nothing.
type Stdio struct {
	broken chan os.Signal // SIGPIPE, which nobody receives; nil unless this process was spawned
	pipes  [3]uint64      // the inodes of what 1 and 2 were when it joined

	mu    sync.Mutex
	final [3]*listener.FD // what to put in place of descriptors 1 and 2 once this generation owns
}

// Final takes fd, which is the incumbent's own descriptor n, 1 or 2.
func (s *Stdio) Final(n int, fd *listener.FD) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.final[n].Close() // there is one, unless somebody plays tricks
	s.final[n] = fd
}

// takeFinal returns what Final took. The caller owns it.
func (s *Stdio) takeFinal() [3]*listener.FD {
	s.mu.Lock()
	defer s.mu.Unlock()
	final := s.final
	s.final = [3]*listener.FD{}
	return final
}

// Close closes what Final took.
func (s *Stdio) Close() {
	for _, fd := range s.takeFinal() {
		_ = fd.Close()
	}
}

// SurviveSIGPIPE keeps SIGPIPE from ending this process, which another generation has started. Its standard output and error
// may lose their readers at two moments at which the first generation's do not: when the incumbent, which reads them until
// this one owns, dies; and later, when a supervisor stops reading because its own child, the first generation, has ended.
//
// The Go runtime ends a process for a write to a broken pipe on descriptor 1 or 2 unless SIGPIPE is ignored or somebody is
// notified of it (os/signal). So somebody is, until the process ends: what it prints after Close may not end it either.
// The other way is to put /dev/null in the pipe's place. There is always a line that comes before that, a fifo may find
// another reader, and a program that asks for SIGPIPE would not get it. So what the descriptors are is left alone.
//
//	the program calls           SIGPIPE
//	nothing                     a write fails with EPIPE
//	signal.Ignore, at any time  stays ignored, in its children too
//	signal.Notify, at any time  the program is notified as well
//	signal.Reset, before Join   as if it had called nothing
//	signal.Reset, after Join    as if it had called nothing, once the lack of a reader was noticed (see Watch)
func (s *Stdio) SurviveSIGPIPE() {
	s.broken = make(chan os.Signal, 1)
	tolerate(s.broken)
	for n := 1; n < len(s.pipes); n++ {
		s.pipes[n] = pipeInode(n)
	}
}

// tolerate leaves SIGPIPE ignored if it is: Notify would undo that, and Stop not restore it.
func tolerate(broken chan os.Signal) {
	if !signal.Ignored(syscall.SIGPIPE) {
		signal.Notify(broken, syscall.SIGPIPE)
	}
}

// pipeInode is 0 if n is no pipe.
func pipeInode(n int) uint64 {
	var st unix.Stat_t
	if err := unix.Fstat(n, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return 0
	}
	return st.Ino
}

// Replace makes the incumbent's own standard output and error this process's, in place of the pipes through which
// the incumbent watched it start: with the incumbent gone, nobody would read them. gone is closed when it is. task runs a
// function in the background, which ends with ctx.
func (s *Stdio) Replace(ctx context.Context, gone <-chan struct{}, task func(f func())) error {
	var errs error
	for n, fd := range s.takeFinal() {
		if fd == nil {
			continue
		}
		if ino := pipeInode(n); ino == 0 || ino != s.pipes[n] { // the program has put something else there
			_ = fd.Close()
			continue
		}
		// The pipe itself, once more. An error is of a process that has changed its user: pipes belong to who made them.
		pipe, openErr := os.OpenFile("/proc/self/fd/"+strconv.Itoa(n), os.O_RDONLY|syscall.O_NONBLOCK, 0)
		errs = errors.Join(errs, sys.Control(fd, func(from int) error {
			return os.NewSyscallError("dup3", unix.Dup3(from, n, 0))
		}))
		if openErr != nil {
			_ = fd.Close()
			continue
		}
		task(func() { readOn(ctx, gone, pipe, fd.File("output")) })
	}
	return errs
}

// readOn takes the place of the predecessor at the pipe once that is gone, for those who write to it still: processes that
// this one started before it owned, and copies of descriptors 1 and 2. Without them the pipe is at its end at once. It takes
// both files.
func readOn(ctx context.Context, gone <-chan struct{}, pipe, to *os.File) {
	defer pipe.Close()
	defer to.Close()
	select {
	case <-gone:
	case <-ctx.Done():
		return
	}
	defer context.AfterFunc(ctx, func() { _ = pipe.SetReadDeadline(time.Now()) })()
	_, _ = io.Copy(ignoreErrors{to}, pipe)
}

// Watch says, once, when standard output and error of a spawned generation have no reader any more.
//
// They are watched in an epoll instance, which holds no copy: a reader that waits for the end of a pipe is not kept from
// it when the program closes its end. Nothing but errors and hang-ups is asked for, so a line that is read wakes nobody. task runs a function in the background, which ends with ctx.
func (s *Stdio) Watch(ctx context.Context, log *slog.Logger, task func(f func())) {
	if s.broken == nil {
		return
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		log.Debug("standard output and error are not watched", "error", err)
		return
	}
	var watched [3]unix.Stat_t
	left := 0
	for n := 1; n < len(watched); n++ {
		if unix.Fstat(n, &watched[n]) != nil {
			continue
		}
		event := unix.EpollEvent{Events: unix.EPOLLONESHOT, Fd: int32(n)}
		if unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, n, &event) == nil { // EPERM: a file, which needs no reader
			left++
		}
	}
	if left == 0 {
		_ = unix.Close(ep)
		return
	}
	_ = unix.SetNonblock(ep, true) // so that the runtime watches it
	file := os.NewFile(uintptr(ep), "output")
	task(func() {
		defer file.Close()
		defer context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Now()) })()
		raw, err := file.SyscallConn()
		for err == nil && left > 0 {
			if err = raw.Read(func(ep uintptr) bool { return pollable(int(ep)) }); err != nil {
				return
			}
			select {
			case <-time.After(outputPause):
			case <-ctx.Done():
			}
			err = raw.Control(func(ep uintptr) { left -= s.logUnread(int(ep), watched, log) })
		}
	})
}

// outputPause is for how long a second loss may follow the first to be told with it: often one process has read both.
const outputPause = 50 * time.Millisecond

// pollable reports whether epoll_wait(2) on ep would return at once. It takes nothing away.
func pollable(ep int) bool {
	fds := []unix.PollFd{{Fd: int32(ep), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err != nil && !errors.Is(err, unix.EINTR) || n > 0
}

// logUnread logs which of descriptors 1 and 2 have lost their readers. It returns for how many there is nothing more to wait
// for, those included that are something else by now.
func (s *Stdio) logUnread(ep int, watched [3]unix.Stat_t, log *slog.Logger) int {
	var events [2]unix.EpollEvent
	n, err := unix.EpollWait(ep, events[:], 0)
	if err != nil { // interrupted: the events are still there
		return 0
	}
	var lost []string
	for _, event := range events[:n] {
		var now unix.Stat_t
		is := watched[event.Fd]
		if unix.Fstat(int(event.Fd), &now) == nil && now.Dev == is.Dev && now.Ino == is.Ino {
			lost = append(lost, []string{1: "standard output", 2: "standard error"}[event.Fd])
		}
	}
	if len(lost) > 0 {
		slices.Sort(lost)
		tolerate(s.broken)
		log.Warn("nobody reads what this process prints; it is lost", "output", strings.Join(lost, ", "))
	}
	return n
}
