package driver

import (
	"context"
	"time"

	"github.com/segue-go/segue/handoff/internal/succession"
)

// prove serves for the probation, calls Check, and confirms or hands back.
func (p *predecessor) prove() {
	d := p.d
	t := time.NewTimer(max(d.cfg.Probation, 0))
	defer t.Stop()
	select {
	case <-t.C:
	case <-d.ctx.Done():
		return
	}
	if d.cfg.Check != nil {
		ctx, cancel := context.WithTimeout(d.ctx, d.cfg.ReadyTimeout)
		err := d.cfg.Check(ctx)
		cancel()
		if d.ctx.Err() != nil {
			return
		}
		if err != nil {
			d.log.Error("the check failed", "error", err)
			d.mu.Lock()
			d.lastError = failed("check", d.phase, err)
			d.mu.Unlock()
			if d.HandBack(err) {
				return
			}
		}
	}
	d.decideIf(p, input{event: succession.Proved}, func() bool { return d.phase == succession.PhaseProbation && !d.endsLocked() })
}
