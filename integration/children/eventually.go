package children

import (
	"context"
	"time"
)

// glance is how often something is looked at that cannot be waited for.
const glance = 5 * time.Millisecond

// Eventually returns nil as soon as ok returns true, or the cause of ctx's end.
func Eventually(ctx context.Context, ok func() bool) error {
	t := time.NewTicker(glance)
	defer t.Stop()
	for !ok() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
