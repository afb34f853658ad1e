package handoff

import (
	"context"
	"errors"
	"sync"
)

// This is about what only one process may have: sections with Hold alone. They move no state, but are held before anybody
// else can own: a successor before COMMIT, a predecessor that gets the sockets back, whoever starts when this generation is
// closed.

// exclusive reports whether s has Hold alone.
func (s *section) exclusive() bool { return s.Hold != nil && s.Save == nil }

// holdExclusive calls the Hold of all exclusive sections, at once, and returns when they have let go, within StateTimeout.
// keep gets what undoes each Hold; nil: nothing will. On an error some may be held.
func (g *Generation) holdExclusive(ctx context.Context, keep func(release func())) error {
	var all []*section
	for _, s := range g.sections { // complete since Ready
		if s.exclusive() {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil
	}
	g.holding.Lock() // Close comes at any time
	defer g.holding.Unlock()
	ctx, cancel := g.stateTime(ctx)
	defer cancel()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, s := range all {
		wg.Go(func() { errs[i] = g.hold(ctx, s, keep) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// hold calls s.Hold. What undoes it goes to keep, also if it comes too late.
func (g *Generation) hold(ctx context.Context, s *section, keep func(release func())) error {
	return g.callBack(ctx, s, "Hold", func(ctx context.Context) error {
		release, err := s.Hold(ctx)
		if err == nil && release != nil && keep != nil {
			keep(release)
		}
		return err
	})
}
