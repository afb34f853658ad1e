package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lockPoll is how often is looked whether a lock is free, and between calls that are to be tried again.
const lockPoll = 5 * time.Millisecond

// lockName is the lock file beside the rendezvous. A process that binds, replaces or removes a path holds it locked.
func (p Path) lockName() string { return string(p) + ".lock" }

// WithLock calls f while it holds the lock file beside the rendezvous. Without a path there is nobody to agree with. A lock
// file that f had to make, and does not need because it failed, is removed.
func (p Path) WithLock(ctx context.Context, f func() error) error {
	if p == "" {
		return f()
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		lock, locked, err := tryLock(p.lockName())
		if err != nil {
			return fmt.Errorf("the lock of the rendezvous: %w", err)
		}
		if locked {
			defer lock.file.Close() // which unlocks it
			if err = f(); err != nil && lock.made {
				_ = os.Remove(p.lockName())
			}
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the lock %s: %w", p.lockName(), context.Cause(ctx))
		}
	}
}

// Leave removes the lock if nobody is at p any more; then nobody needs it. The caller holds it.
func (p Path) Leave() {
	if _, err := os.Lstat(string(p)); errors.Is(err, os.ErrNotExist) {
		_ = os.Remove(p.lockName())
	}
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// lock is a lock that this process holds.
type lock struct {
	file *os.File
	made bool // there was no such file
}

// tryLock locks the file of this name, and makes it if there is none. It reports false if somebody else holds it. The file may
// be removed by who holds it, and by cleaners of temporary files: so that nobody holds a lock that others cannot find, it
// counts only if it still is the one of that name.
func tryLock(name string) (l lock, locked bool, err error) {
	for range 100 { // so often nobody is that unlucky
		l.file, err = os.OpenFile(name, os.O_RDWR|syscall.O_NOFOLLOW, 0)
		if l.made = errors.Is(err, os.ErrNotExist); l.made {
			l.file, err = os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
		}
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return lock{}, false, err
		}
		// Not blocking: a flock that waits cannot be interrupted by a context.
		err = lockFile(l.file)
		if err == nil {
			mine, err1 := l.file.Stat()
			there, err2 := os.Lstat(name)
			if err1 == nil && err2 == nil && os.SameFile(mine, there) {
				return l, true, nil
			}
			err = err1
		}
		_ = l.file.Close()
		switch {
		case err == nil, errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return lock{}, false, nil
		default:
			return lock{}, false, &os.PathError{Op: "flock", Path: name, Err: err}
		}
	}
	return lock{}, false, nil
}

func lockFile(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(n uintptr) { inner = syscall.Flock(int(n), syscall.LOCK_EX|syscall.LOCK_NB) }); err != nil {
		return err
	}
	return inner
}
