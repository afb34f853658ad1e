package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	// stopWithin bounds the wait for processes to stop, of which only a thread in an uninterruptible sleep makes use.
	stopWithin = 100 * time.Millisecond
	// Between two attempts the process has its time to finish what it was doing: in the long run, ten times as much as it
	// was stopped.
	idlePause     = 2 * time.Millisecond
	idlePauseMost = 50 * time.Millisecond
	idleShare     = 10
)

// SignalIdle sends a signal to the process, as Signal does, at an instant in which neither it nor its descendants have a
// connection open that came through one of the sockets. It is for programs that end at once when they are told to, and
// drop what they are serving: as python3 -m http.server does on SIGTERM. Somebody else must accept from the sockets by
// then, or connections wait in their queues.
//
// Until there seems to be none, it only looks. Then those that hold the sockets are stopped (SIGSTOP), so that they accept
// nothing while it looks once more; and they are continued (SIGCONT), with the signal if there were none, or to be tried
// again later. They are stopped for as long as that look takes, which depends on how many sockets there are in their
// network namespace, and how many descriptors and descendants the process has: milliseconds if there are few, more than a
// hundred if there are tens of thousands; and at most a tenth of the time. What is already stopped is not continued. If
// this process is killed meanwhile, they stay stopped.
//
// It gives up when ctx ends, with its cause and no signal sent: clients that keep idle connections may keep the process
// from ever being without. Errors besides: those of List and Signal.
func (p *Process) SignalIdle(ctx context.Context, sig syscall.Signal, sockets ...Socket) error {
	for {
		done, stopped, err := p.tryIdle(ctx, sig, sockets)
		if done || err != nil {
			return err
		}
		t := time.NewTimer(pauseAfter(stopped))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("process: process %d always had a connection: %w", p.pid, context.Cause(ctx))
		}
	}
}

// pauseAfter is how long to wait until the next attempt.
func pauseAfter(stopped time.Duration) time.Duration {
	return max(idlePause+rand.N(idlePauseMost-idlePause), idleShare*stopped)
}

// tryIdle reports whether it has sent the signal, and how long it had stopped somebody.
func (p *Process) tryIdle(ctx context.Context, sig syscall.Signal, sockets []Socket) (done bool, stopped time.Duration, err error) {
	s, err := p.survey(ctx)
	if err != nil {
		return false, 0, fmt.Errorf("process: look at process %d: %w", p.pid, err)
	}
	if s.busy(sockets) {
		return false, 0, nil
	}
	began := time.Now()
	done, err = p.stopAndTry(ctx, sig, sockets, s)
	return done, time.Since(began), err
}

// stopAndTry stops those who hold the sockets, sends the signal if they still have no connection, and continues them.
func (p *Process) stopAndTry(ctx context.Context, sig syscall.Signal, sockets []Socket, s *survey) (done bool, err error) {
	stopped := map[int]bool{}
	var resume []*handle
	defer func() {
		for _, h := range resume {
			_ = h.signal(syscall.SIGCONT) // it has ended, then
		}
	}()
	for _, pid := range s.holdersOf(sockets) {
		h, err := p.handle(pid)
		if err != nil {
			return false, err
		}
		is, err := halted(pid)
		if err != nil {
			return false, fmt.Errorf("process: look at process %d: %w", pid, err)
		}
		if !is {
			resume = append(resume, h) // in any case: a stop may be on its way when an error is returned
			if err := h.signal(syscall.SIGSTOP); err != nil {
				if pid != p.pid && errors.Is(err, ErrGone) {
					continue
				}
				return false, fmt.Errorf("process: stop process %d: %w", pid, err)
			}
		}
		stopped[pid] = true
	}
	for deadline := time.Now().Add(stopWithin); ; {
		left, err := moving(stopped)
		if err != nil {
			return false, fmt.Errorf("process: look at process %d: %w", p.pid, err)
		}
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			return false, nil
		}
		time.Sleep(200 * time.Microsecond) // there is nothing that tells one process that another's child has stopped
	}
	// Who was started by one of them in between is not stopped.
	if s, err = p.survey(ctx); err != nil {
		return false, fmt.Errorf("process: look at process %d: %w", p.pid, err)
	}
	for _, pid := range s.holdersOf(sockets) {
		if !stopped[pid] {
			return false, nil
		}
	}
	if s.busy(sockets) {
		return false, nil
	}
	return true, p.Signal(sig)
}

// holdersOf returns the processes that hold one of the sockets.
func (s *survey) holdersOf(sockets []Socket) []int {
	var pids []int
	for _, looked := range s.seen {
		if slices.ContainsFunc(sockets, func(so Socket) bool { return looked.sockets[so.Inode] != nil }) {
			pids = append(pids, looked.pid)
		}
	}
	return pids
}

// busy reports whether one of the processes has a connection open that came through one of the sockets, or may have: what
// is in no table that can be believed, and could not be asked, may be one; and who could not be looked at may have some.
func (s *survey) busy(sockets []Socket) bool {
	if len(s.refused) > 0 {
		return true
	}
	for _, looked := range s.seen {
		for ino := range looked.sockets {
			e := s.entries[ino]
			if d, asked := s.details[ino]; asked {
				e = d.entry()
			}
			if !e.sure || slices.ContainsFunc(sockets, e.connectionOf) {
				return true
			}
		}
	}
	return false
}

// moving counts the processes that have threads which are not stopped.
func moving(pids map[int]bool) (n int, err error) {
	for pid := range pids {
		is, err := halted(pid)
		if err != nil {
			return 0, err
		}
		if !is {
			n++
		}
	}
	return n, nil
}

// halted reports whether all threads of a process are stopped, or have ended.
func halted(pid int) (bool, error) {
	dir := filepath.Join(procDir(pid), "task")
	threads, err := numbers(dir)
	if gone(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for _, n := range threads {
		st, err := readStat(filepath.Join(dir, strconv.Itoa(n), "stat"))
		if gone(err) {
			continue
		}
		if err != nil {
			return false, err
		}
		if !slices.Contains([]byte("TtZX"), st.state) {
			return false, nil
		}
	}
	return true, nil
}

// gone reports whether an error of a look at /proc/PID says that there is none.
func gone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) }
