//go:build !linux

package driver

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/segue-go/segue/handoff/internal/migrate"
	"github.com/segue-go/segue/handoff/internal/state"
	"github.com/segue-go/segue/handoff/internal/succession"
)

// chain is empty where a process cannot hand its sockets over: each generation is the first, and the last.
type chain struct{}

func (d *Driver) join(context.Context) error {
	if d.cfg.Path != "" {
		d.log.Warn("no successor can take over on this system; the path has no effect", "path", d.cfg.Path, "system", runtime.GOOS)
	}
	return nil
}

// own asks the table as elsewhere; of its actions, only what follows has a meaning here.
func (d *Driver) own(ctx context.Context) error {
	if err := d.Sections.Fresh(ctx, func(*state.Section) bool { return false }); err != nil {
		return err
	}
	d.mu.Lock()
	ready := d.asSuccessorLocked(succession.Ready)
	event := succession.Opened
	err := d.openLocked()
	if err != nil {
		event = succession.OpenFailed
	}
	opened := d.asSuccessorLocked(event)
	d.mu.Unlock()
	d.report(ready)
	d.report(opened)
	if err != nil {
		return err
	}
	d.started.happen()
	d.writePIDFiles()
	d.settle()
	d.log.Info("serving")
	return nil
}

func (d *Driver) startForeign(ctx context.Context, _ Start) error { return d.startAndHandOver(ctx) }

func (d *Driver) startAndHandOver(context.Context) error {
	return fmt.Errorf("sockets are handed over on Linux only, not on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (d *Driver) initChain() {}

// withLock calls f: without a rendezvous there is nobody to agree with.
func (d *Driver) withLock(_ context.Context, f func() error) error { return f() }

func (d *Driver) maybeUnreachable(err error) error { return err }

func (d *Driver) peersLocked() (predecessor, successor int) { return 0, 0 }
func (d *Driver) busyLocked() bool                          { return false }
func (d *Driver) passRequestOn(string)                      {}
func (d *Driver) flush(time.Time, time.Duration)            {}
func (d *Driver) drained()                                  {}
func (d *Driver) announceClose()                            {}
func (d *Driver) sayBye() error                             { return nil }
func (d *Driver) closeChain(bool)                           { d.Conns.Close() }
func (d *Driver) sendDrop(int)                              {}

// HandBack does nothing: there is nobody to hand back to.
func (d *Driver) HandBack(error) bool { return false }

// standing is not asked where connections cannot move.
func (d *Driver) standing() (migrate.Standing, <-chan struct{}) { return migrate.Over, nil }
