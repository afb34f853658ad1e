package driver

import (
	"context"
	"errors"
	"os/exec"

	"github.com/segue-go/segue/handoff/internal/sockets"
	"github.com/segue-go/segue/handoff/internal/state"
)

// Start starts a process that does not speak the protocol, by cmd, with copies of lent. It returns nil once that process serves.
type Start func(ctx context.Context, cmd *exec.Cmd, lent []*sockets.Socket) error

// Upgrade starts the successor and hands over to it. It returns nil once the successor has confirmed.
func (d *Driver) Upgrade(ctx context.Context) error { return d.upgraded(d.startAndHandOver(ctx)) }

// UpgradeTo hands over to a process that start starts: see hook.UpgradeTo.
func (d *Driver) UpgradeTo(ctx context.Context, start Start) error {
	return d.upgraded(d.startForeign(ctx, start))
}

// setLastError notes why an attempt to hand over has failed; nil for one that has not.
func (d *Driver) setLastError(err error) {
	d.mu.Lock()
	d.lastError = err
	d.mu.Unlock()
	if f := d.cfg.Failed; f != nil && err != nil {
		f(err)
	}
}

// upgraded says how an upgrade has ended.
func (d *Driver) upgraded(err error) error {
	if err = d.failure("upgrade", err); err == nil {
		return nil
	}
	d.setLastError(err)
	if !errors.Is(err, state.ErrStale) { // else it was said
		d.log.Error("upgrade failed", "error", err)
	}
	return err
}
