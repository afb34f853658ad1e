package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/segue-go/segue/integration/children"
)

// undisturbed calls f, and fails if meanwhile others than the owners served.
func (d *demo) undisturbed(f func() error) error {
	before, moves := len(d.watch.since(0)), d.users.Counts().Moves
	if err := f(); err != nil {
		return err
	}
	for _, r := range d.watch.since(before) {
		if r.pid != d.http.owner() {
			return fmt.Errorf("process %d served meanwhile, not only %d", r.pid, d.http.owner())
		}
	}
	if n := d.users.Counts().Moves - moves; n > 0 {
		return fmt.Errorf("%d users of the chat were moved meanwhile", n)
	}
	return nil
}

// crash upgrades to successors that exit with status 3 before they have asked for anything. The owners must say so.
func (d *demo) crash(ctx context.Context) error {
	return d.undisturbed(func() error {
		if err := d.setFault("crash"); err != nil {
			return err
		}
		from := d.log.lines()
		d.event(event{at: time.Now(), what: "successors crash in start-up", mark: "crashes in start-up"})
		if err := d.hangUp(); err != nil {
			return err
		}
		for _, s := range d.servers() {
			if _, err := d.log.await(ctx, from, "exit status 3", fmt.Sprintf("pid=%d ", s.owner())); err != nil {
				return err
			}
		}
		return d.setFault("")
	})
}

// neverReady upgrades to successors that never call Ready. The owners must end them.
func (d *demo) neverReady(ctx context.Context) error {
	return d.undisturbed(func() error {
		if err := d.setFault("never-ready"); err != nil {
			return err
		}
		before := d.kids.Alive()
		d.event(event{at: time.Now(), what: "successors never become ready", mark: "never ready"})
		begun := len(d.events) - 1
		if err := d.hangUp(); err != nil {
			return err
		}
		var successors []int
		if err := children.Eventually(ctx, func() bool {
			successors = slices.DeleteFunc(d.kids.Alive(), func(pid int) bool { return slices.Contains(before, pid) })
			return len(successors) == len(d.servers())
		}); err != nil {
			return fmt.Errorf("not every server has started a successor, only %v: %w", successors, err)
		}
		d.log.note("processes %v should be ended after %v", successors, readyTimeout)
		left := func() []int {
			return slices.DeleteFunc(d.kids.Alive(), func(pid int) bool { return !slices.Contains(successors, pid) })
		}
		if err := children.Eventually(ctx, func() bool { return len(left()) == 0 }); err != nil {
			return fmt.Errorf("processes %v were not ended: %w", left(), err)
		}
		d.events[begun].until = time.Now()
		d.event(event{at: time.Now(), what: fmt.Sprintf("processes %v, never ready, are ended", successors)})
		return d.setFault("")
	})
}

// dieAfterCommit upgrades to successors that exit with status 4 shortly after commit. The owners must resume.
func (d *demo) dieAfterCommit(ctx context.Context) error {
	if err := d.setFault("die-after-commit"); err != nil {
		return err
	}
	death := death{after: time.Now()}
	pid, err := d.start(d.http)
	if err != nil {
		return err
	}
	chat, err := d.start(d.chat)
	if err != nil {
		return err
	}
	e, err := d.kids.Wait(ctx, pid)
	if err != nil {
		return err
	}
	death.pid, death.at = pid, e.At
	if r, ok := d.watch.of(pid); ok {
		death.after = r.after
	}
	d.deaths.add(death)
	d.event(event{at: e.At, what: fmt.Sprintf("process %d dies after commit", pid), mark: "dies after commit"})
	chatEnd, err := d.kids.Wait(ctx, chat)
	if err != nil {
		return err
	}
	for pid, e := range map[int]children.Exit{pid: e, chat: chatEnd} {
		if e.Code != 4 {
			d.problem("process %d, which should have died after commit with exit status 4: %s", pid, e.Text)
		}
	}
	if err := d.setFault(""); err != nil {
		return err
	}
	r, err := d.watch.await(ctx, func(p int) bool { return p == d.http.owner() })
	if err != nil {
		return fmt.Errorf("process %d does not serve again after its successor's death: %w", d.http.owner(), err)
	}
	if _, ok := d.watch.of(pid); ok {
		d.event(event{at: r.first, what: fmt.Sprintf("process %d serves again", r.pid)})
	} else {
		d.problem("process %d never served before it died, so that nothing was tried", pid)
	}
	return d.chatRevived(ctx)
}
