package main

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// undisturbed calls f, and fails if meanwhile another process than the owner served.
func (d *demo) undisturbed(f func() error) error {
	before := len(d.watch.since(0))
	if err := f(); err != nil {
		return err
	}
	for _, r := range d.watch.since(before) {
		if r.pid != d.owner() {
			return fmt.Errorf("process %d served meanwhile, not only %d", r.pid, d.owner())
		}
	}
	return nil
}

// crash upgrades to a successor that exits with status 3 before it has asked for anything. The owner must say so.
func (d *demo) crash(ctx context.Context) error {
	return d.undisturbed(func() error {
		if err := d.setFault("crash"); err != nil {
			return err
		}
		from := d.log.lines()
		d.event(time.Now(), "successor crashes in start-up", false)
		if err := d.kids.signal(d.owner(), syscall.SIGHUP); err != nil {
			return err
		}
		if _, err := d.log.await(ctx, from, "exit status 3"); err != nil {
			return err
		}
		return d.setFault("")
	})
}

// neverReady upgrades to a successor that never calls Ready. The owner must end it.
func (d *demo) neverReady(ctx context.Context) error {
	return d.undisturbed(func() error {
		if err := d.setFault("never-ready"); err != nil {
			return err
		}
		before := d.kids.alive()
		d.event(time.Now(), "successor never becomes ready", false)
		if err := d.kids.signal(d.owner(), syscall.SIGHUP); err != nil {
			return err
		}
		successor := 0
		if err := eventually(ctx, func() bool {
			for _, pid := range d.kids.alive() {
				if !slices.Contains(before, pid) {
					successor = pid
				}
			}
			return successor != 0
		}); err != nil {
			return fmt.Errorf("no successor was started: %w", err)
		}
		d.log.note("process %d should be ended after %v", successor, readyTimeout)
		if err := eventually(ctx, func() bool { return !slices.Contains(d.kids.alive(), successor) }); err != nil {
			return fmt.Errorf("process %d was not ended: %w", successor, err)
		}
		d.event(time.Now(), fmt.Sprintf("process %d, never ready, is ended", successor), false)
		return d.setFault("")
	})
}

// dieAfterCommit upgrades to a successor that exits with status 4 shortly after commit. The owner must resume.
func (d *demo) dieAfterCommit(ctx context.Context) error {
	if err := d.setFault("die-after-commit"); err != nil {
		return err
	}
	death := death{after: time.Now()}
	pid, err := d.start()
	if err != nil {
		return err
	}
	e, err := d.kids.wait(ctx, pid)
	if err != nil {
		return err
	}
	death.pid, death.at = pid, e.at
	if r, ok := d.watch.of(pid); ok {
		death.after = r.after
	}
	d.deaths.add(death)
	d.event(e.at, fmt.Sprintf("process %d dies after commit", pid), false)
	if e.code != 4 {
		d.problem("process %d, which should have died after commit with exit status 4: %s", pid, e.text)
	}
	if err := d.setFault(""); err != nil {
		return err
	}
	r, err := d.watch.await(ctx, func(p int) bool { return p == d.owner() })
	if err != nil {
		return fmt.Errorf("process %d does not serve again after its successor's death: %w", d.owner(), err)
	}
	if _, ok := d.watch.of(pid); ok {
		d.event(r.first, fmt.Sprintf("process %d serves again", r.pid), false)
	} else {
		d.problem("process %d never served before it died, so that nothing was tried", pid)
	}
	return nil
}
