package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/handoff"
)

// errBusy says that a button has no effect now.
var errBusy = errors.New("another upgrade is under way")

// upgrades are those that the page asks for, one at a time. None of them outlives this process: what comes after it is
// asked by the page, at whoever serves then.
type upgrades struct {
	ctx context.Context
	gen *handoff.Generation

	answered atomic.Int64 // requests, by this process

	running sync.WaitGroup
	mu      sync.Mutex
	busy    bool
	next    version // that is to be started; "" for an upgrade by a signal
}

// begun is called when this generation has joined, as version v.
func (u *upgrades) begun(ctx context.Context, gen *handoff.Generation, v version) {
	u.ctx, u.gen = ctx, gen
	if v == unwell {
		u.running.Go(u.fail)
	}
}

// fail gives everything back to the predecessor when this generation has answered some requests.
func (u *upgrades) fail() {
	for u.gen.Status().Phase != handoff.PhaseServing {
		if !u.sleep(10 * time.Millisecond) {
			return
		}
	}
	for since := time.Now(); u.answered.Load() < unwellAfter && time.Since(since) < unwellWithin; {
		if !u.sleep(10 * time.Millisecond) {
			return
		}
	}
	if err := u.gen.Fail(errUnwell); err != nil {
		slog.Error("giving back", "error", err)
	}
}

// sleep reports false if this generation has ended before.
func (u *upgrades) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-u.ctx.Done():
		return false
	case <-u.gen.Released(): // has ended
		return false
	}
}

// wait returns when nothing is under way any more.
func (u *upgrades) wait() { u.running.Wait() }

// command is Config.Command: this program again, as the version that was asked for.
func (u *upgrades) command() *exec.Cmd {
	u.mu.Lock()
	defer u.mu.Unlock()
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), versionEnv+"="+string(u.next))
	return cmd
}

// begin begins an upgrade to v. It returns at once: the page sees in the timeline what becomes of it, and goes on to ask.
func (u *upgrades) begin(v version) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.busy {
		return errBusy
	}
	if p := u.gen.Status().Phase; p != handoff.PhaseServing {
		return fmt.Errorf("process %d cannot upgrade now, since it is %s", os.Getpid(), p)
	}
	u.busy, u.next = true, v
	u.running.Go(func() {
		_ = u.gen.Upgrade(u.ctx) // the timeline and the log have the error
		u.mu.Lock()
		defer u.mu.Unlock()
		u.busy, u.next = false, ""
	})
	return nil
}
