package children

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Children are the processes that the program started, those that these started, and so on: prctl(2), PR_SET_CHILD_SUBREAPER,
// makes orphans our children. Its methods may be called by many goroutines at once.
type Children struct {
	sigs chan os.Signal
	done chan struct{} // closed when the reaper has ended

	mu    sync.Mutex // held while reaping and while starting, so that only the reaper ever takes an exit status
	ended map[int]Exit
}

// New starts the reaper. From then on until Close os/exec's Wait must not be used in this process: it would wait for a
// status that the reaper has taken.
func New() (*Children, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("prctl PR_SET_CHILD_SUBREAPER: %w", err)
	}
	c := &Children{sigs: make(chan os.Signal, 1), done: make(chan struct{}), ended: map[int]Exit{}}
	signal.Notify(c.sigs, syscall.SIGCHLD)
	go func() {
		defer close(c.done)
		for range c.sigs {
			c.reap()
		}
	}()
	return c, nil
}

// Close ends what is still alive, and the reaper.
func (c *Children) Close() {
	c.EndAll(time.Second)
	signal.Stop(c.sigs)
	close(c.sigs)
	<-c.done
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) // it could be set, so it can be cleared
}

func (c *Children) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
		c.ended[pid] = Exit{Code: ws.ExitStatus(), Text: describe(ws), At: time.Now()}
	}
}

func describe(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return "signal: " + ws.Signal().String()
	}
	return "exit status " + strconv.Itoa(ws.ExitStatus())
}

// Start starts a process in a process group of its own, so that Ctrl-C in a terminal reaches the program alone.
func (c *Children) Start(cmd *exec.Cmd) (int, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	delete(c.ended, pid) // of another process, which had the number before
	return pid, cmd.Process.Release()
}

// Exited tells how a process ended, if it has and its parent was the program.
func (c *Children) Exited(pid int) (Exit, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.ended[pid]
	return e, ok
}

// Wait waits until a process has ended that the program started.
func (c *Children) Wait(ctx context.Context, pid int) (Exit, error) {
	var e Exit
	err := Eventually(ctx, func() (ok bool) { e, ok = c.Exited(pid); return ok })
	if err != nil {
		return e, fmt.Errorf("process %d has not ended: %w", pid, err)
	}
	return e, nil
}

// Signal sends a signal to a descendant. The number cannot have become another process's: it is looked up again once a
// pidfd holds the process.
func (c *Children) Signal(pid int, sig os.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("process %d: pidfd_open: %w", pid, err)
	}
	defer unix.Close(fd)
	if !slices.Contains(c.Alive(), pid) {
		return fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	if err := unix.PidfdSendSignal(fd, sig.(syscall.Signal), nil, 0); err != nil {
		return fmt.Errorf("process %d: pidfd_send_signal: %w", pid, err)
	}
	return nil
}

// Alive returns all descendants that have not ended, in no order, from /proc.
func (c *Children) Alive() []int {
	for try := 0; ; try++ {
		all, whole := processes()
		// A process whose parent ended while they were read one by one belongs to nobody there, perhaps to us.
		if !whole && try < 5 {
			continue
		}
		return descendants(os.Getpid(), all)
	}
}

// process is what is known of one.
type process struct {
	parent int
	ended  bool // it is a zombie: its children, if any, are being given to another parent
}

// processes reads all of them, by their pids (proc_pid_stat(5)). It is not whole if somebody's parent is missing.
func processes() (all map[int]process, whole bool) {
	all = map[int]process{0: {}} // the parent of init, and of what has one in another pid namespace
	dir, err := os.Open("/proc")
	if err != nil {
		return all, false
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what could be read is what there is
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // ended meanwhile
		}
		// After the name in parentheses, which may itself hold some: state and parent.
		f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		if len(f) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(string(f[1])); err == nil {
			all[pid] = process{parent: parent, ended: f[0][0] == 'Z' || f[0][0] == 'X'}
		}
	}
	for _, p := range all {
		if _, ok := all[p.parent]; !ok {
			return all, false
		}
	}
	return all, true
}

// descendants returns those below a process that have not ended.
func descendants(of int, all map[int]process) []int {
	var found []int
	for pid, p := range all {
		if p.ended {
			continue
		}
		for up, steps := p.parent, 0; up != 0 && steps < len(all); up, steps = all[up].parent, steps+1 {
			if up == of {
				found = append(found, pid)
				break
			}
		}
	}
	return found
}

// EndAll ends every descendant: by SIGTERM, and by SIGKILL what has not ended within grace. It returns which needed what.
func (c *Children) EndAll(grace time.Duration) (terminated, killed []int) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		told := map[int]bool{}
		_ = Eventually(ctx, func() bool { // what is left after it is seen below, or cannot be helped
			pids := c.Alive()
			for _, pid := range pids {
				if !told[pid] && c.Signal(pid, sig) == nil {
					told[pid] = true
					if sig == syscall.SIGTERM {
						terminated = append(terminated, pid)
					} else {
						killed = append(killed, pid)
					}
				}
			}
			return len(pids) == 0
		})
		cancel()
	}
	return terminated, killed
}
