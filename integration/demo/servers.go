package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// first starts the first server and learns its address.
func (d *demo) first(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if err := d.setFault(""); err != nil {
		return err
	}
	pid, err := d.start()
	if err != nil {
		return err
	}
	const says = "listening on "
	line, err := d.log.await(ctx, 0, says)
	if e, ended := d.kids.exited(pid); ended {
		return fmt.Errorf("process %d: %s", pid, e.text)
	}
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(line, says)
	d.addr, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
	return nil
}

// start starts a server process.
func (d *demo) start() (int, error) {
	cmd := exec.Command(d.o.server, "-listen", "127.0.0.1:0", "-segue", d.segue, "-fault-file", d.fault,
		"-ready-timeout", readyTimeout.String(), "-drain-timeout", drainTimeout.String())
	cmd.Stdout, cmd.Stderr = d.log.file, d.log.file
	pid, err := d.kids.start(cmd)
	if err != nil {
		return 0, err
	}
	d.started[pid] = true
	d.log.note("started process %d", pid)
	return pid, nil
}

// setFault tells the servers that start from now on how to fail.
func (d *demo) setFault(name string) error { return os.WriteFile(d.fault, []byte(name), 0o600) }

// owner returns who serves.
func (d *demo) owner() int { return d.chain[len(d.chain)-1] }

// bySignal upgrades by SIGHUP to the process that serves.
func (d *demo) bySignal(ctx context.Context, name string) error {
	old, begun := d.owner(), time.Now()
	d.log.note("SIGHUP to process %d", old)
	if err := d.kids.signal(old, syscall.SIGHUP); err != nil {
		return err
	}
	r, err := d.watch.await(ctx, func(pid int) bool { return pid != old })
	if err != nil {
		return err
	}
	return d.upgraded(name, r, begun)
}

// bySecondStart upgrades by starting the program once more.
func (d *demo) bySecondStart(ctx context.Context, name string) error {
	begun := time.Now()
	pid, err := d.start()
	if err != nil {
		return err
	}
	r, err := d.watch.await(ctx, func(p int) bool {
		_, ended := d.kids.exited(pid)
		return p == pid || ended
	})
	if e, ended := d.kids.exited(pid); ended {
		return fmt.Errorf("process %d, which should have taken over: %s", pid, e.text)
	}
	if err != nil {
		return err
	}
	return d.upgraded(name, r, begun)
}

// upgraded records an upgrade that succeeded.
func (d *demo) upgraded(name string, r reign, begun time.Time) error {
	if slices.Contains(d.chain, r.pid) {
		return fmt.Errorf("process %d serves again, which had been superseded", r.pid)
	}
	what := fmt.Sprintf("%s (process %d to %d)", name, d.owner(), r.pid)
	d.chain = append(d.chain, r.pid)
	d.took = append(d.took, r.first.Sub(begun))
	d.event(r.after.Add(r.first.Sub(r.after)/2), what, true)
	return nil
}

func (d *demo) event(at time.Time, what string, upgrade bool) {
	d.events = append(d.events, event{at, what, upgrade})
	d.log.note("%s", what)
}

// finish ends the servers. Those that were superseded must have ended by themselves, as nothing is connected any more;
// the one that serves must end at SIGTERM; all with status 0.
func (d *demo) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if len(d.chain) == 0 {
		return
	}
	owner := d.owner()
	if err := eventually(ctx, func() bool { return !slices.ContainsFunc(d.kids.alive(), func(p int) bool { return p != owner }) }); err != nil {
		left := slices.DeleteFunc(d.kids.alive(), func(p int) bool { return p == owner })
		d.problem("superseded, without connections and still there after %v: processes %v", stepTimeout, left)
	}
	if err := d.kids.signal(owner, syscall.SIGTERM); err != nil {
		d.problem("the last server: %v", err)
	}
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), stepTimeout/2)
	defer cancel()
	if err := eventually(ctx, func() bool { return len(d.kids.alive()) == 0 }); err != nil {
		d.problem("still there %v after SIGTERM: processes %v", stepTimeout/2, d.kids.alive())
	}
	for _, pid := range d.chain {
		// One whose parent was still alive when it ended was its parent's to ask.
		if e, ok := d.kids.exited(pid); ok && e.code != 0 {
			d.problem("process %d, which served, ended with %s instead of 0", pid, e.text)
		}
	}
	terminated, killed := d.kids.endAll(time.Second)
	if len(terminated)+len(killed) > 0 {
		d.problem("had to be ended: processes %v by SIGTERM, %v by SIGKILL", terminated, killed)
	}
	if _, err := os.Lstat(d.segue); !errors.Is(err, os.ErrNotExist) {
		d.problem("the last server left the rendezvous %s behind (%v)", d.segue, err)
	}
}
