package state

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// This is about what only one process may have: sections with Hold alone. They move no state, but are held before anybody
// else can own: a successor before COMMIT, a predecessor that gets the sockets back, whoever starts when this generation is
// closed.

// HoldExclusive calls the Hold of all exclusive sections, at once, and returns when they have let go, within the timeout.
// keep gets what undoes each Hold; nil: nothing will. On an error some may be held.
func (set *Set) HoldExclusive(ctx context.Context, keep func(release func())) error {
	var all []*Section
	for _, s := range set.all() {
		if s.exclusive() {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil
	}
	set.holding.Lock() // Close comes at any time
	defer set.holding.Unlock()
	ctx, cancel := set.bound(ctx)
	defer cancel()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, s := range all {
		wg.Go(func() { errs[i] = set.hold(ctx, s, keep) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// hold calls s.Hold. What undoes it goes to keep, also if it comes too late.
func (set *Set) hold(ctx context.Context, s *Section, keep func(release func())) error {
	return set.call(ctx, s, "Hold", func(ctx context.Context) error {
		release, err := s.Hold(ctx)
		if err == nil && release != nil && keep != nil {
			keep(release)
		}
		return err
	})
}

// Held is what has been held, and what undoes that. The zero value holds nothing. Its methods may be called concurrently.
type Held struct {
	mu       sync.Mutex
	over     bool
	releases []func()
}

// Add keeps release, or calls it if it comes too late.
func (h *Held) Add(release func()) {
	h.mu.Lock()
	over := h.over
	if !over {
		h.releases = append(h.releases, release)
	}
	h.mu.Unlock()
	if over {
		release()
	}
}

// Release calls what undoes the holds.
func (h *Held) Release() {
	h.mu.Lock()
	releases := h.releases
	h.over, h.releases = true, nil
	h.mu.Unlock()
	for _, release := range slices.Backward(releases) {
		release()
	}
}
