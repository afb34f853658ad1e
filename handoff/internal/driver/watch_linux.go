package driver

import (
	"context"
)

// watch waits for an end of the predecessor, or of its patience, while the program prepares itself. If there is nothing
// to wait for any more it gives up all copies at once: they would keep ports open with nobody behind.
func (d *Driver) watch(ctx context.Context, p *predecessor) {
	defer close(p.watched)
	c, ok := p.next(ctx)
	c.frame.Raw.Close()
	if !ok || p.gone.happened() {
		return // Ready was called, or Close
	}
	if p.lost = d.heardEarly(p, c); p.lost == nil {
		return
	}
	d.stop()
}
