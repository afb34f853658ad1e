package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	// stopWithin bounds the wait for processes to stop, of which only a thread in an uninterruptible sleep makes use.
	stopWithin = 100 * time.Millisecond
	// Between two attempts the process has its time to finish what it was doing.
	idlePause     = 2 * time.Millisecond
	idlePauseMost = 50 * time.Millisecond
)

// SignalIdle sends a signal to the process, as Signal does, at an instant in which neither it nor its descendants have a
// connection open that came through one of the sockets. It is for programs that end at once when they are told to, and
// drop what they are serving: as python3 -m http.server does on SIGTERM. Somebody else must accept from the sockets by
// then, or connections wait in their queues.
//
// To find such an instant, those that hold the sockets are stopped for a few milliseconds (SIGSTOP), so that they accept
// nothing while their connections are looked for; then they are continued (SIGCONT), with the signal if there were none,
// or to be tried again a little later. What is already stopped is not continued. If this process is killed meanwhile, they
// stay stopped.
//
// It gives up when ctx ends, with its cause and no signal sent: clients that keep idle connections may keep the process
// from ever being without. Errors besides: those of List and Signal.
func (p *Process) SignalIdle(ctx context.Context, sig syscall.Signal, sockets ...Socket) error {
	for {
		done, err := p.tryIdle(ctx, sig, sockets)
		if done || err != nil {
			return err
		}
		t := time.NewTimer(idlePause + rand.N(idlePauseMost-idlePause))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("process: process %d always had a connection: %w", p.pid, context.Cause(ctx))
		}
	}
}

// tryIdle reports whether it has sent the signal.
func (p *Process) tryIdle(ctx context.Context, sig syscall.Signal, sockets []Socket) (bool, error) {
	s, err := p.survey(ctx)
	if err != nil {
		return false, fmt.Errorf("process: look at process %d: %w", p.pid, err)
	}
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
		if !halted(pid) {
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
		left := slices.DeleteFunc(slices.Collect(maps.Keys(stopped)), halted)
		if len(left) == 0 {
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

// halted reports whether all threads of a process are stopped, or have ended.
func halted(pid int) bool {
	dir := filepath.Join(procDir(pid), "task")
	threads, err := numbers(dir)
	if err != nil {
		return true // it has ended
	}
	for _, n := range threads {
		st, err := readStat(filepath.Join(dir, strconv.Itoa(n), "stat"))
		if err == nil && !slices.Contains([]byte("TtZX"), st.state) {
			return false
		}
	}
	return true
}
