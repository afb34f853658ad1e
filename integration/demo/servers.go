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

	"github.com/segue-go/segue/integration/children"
)

// server is a program that is upgraded again and again.
type server struct {
	name    string // of the example
	program string
	segue   string // the rendezvous
	addr    string
	chain   []int // the processes that became owners by an upgrade that was meant to succeed
}

// owner returns who serves.
func (s *server) owner() int { return s.chain[len(s.chain)-1] }

// servers returns both.
func (d *demo) servers() []*server { return []*server{d.http, d.chat} }

// first starts the first process of a server and learns its address.
func (d *demo) first(ctx context.Context, s *server) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	from := d.log.lines()
	pid, err := d.start(s)
	if err != nil {
		return err
	}
	const says = "listening on "
	line, err := d.log.await(ctx, from, says)
	if e, ended := d.kids.Exited(pid); ended {
		return fmt.Errorf("process %d: %s", pid, e.Text)
	}
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(line, says)
	s.addr, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
	return nil
}

// start starts a process of a server.
func (d *demo) start(s *server) (int, error) {
	args := []string{"-listen", "127.0.0.1:0", "-segue", s.segue, "-fault-file", d.fault, "-ready-timeout", readyTimeout.String()}
	if s == d.http {
		args = append(args, "-drain-timeout", drainTimeout.String())
	}
	cmd := exec.Command(s.program, args...)
	cmd.Stdout, cmd.Stderr = d.log.file, d.log.file
	pid, err := d.kids.Start(cmd)
	if err != nil {
		return 0, err
	}
	d.log.note("started process %d of examples/%s", pid, s.name)
	return pid, nil
}

// setFault tells the servers that start from now on how to fail.
func (d *demo) setFault(name string) error { return os.WriteFile(d.fault, []byte(name), 0o600) }

// hangUp sends SIGHUP to the processes that serve.
func (d *demo) hangUp() error {
	for _, s := range d.servers() {
		d.log.note("SIGHUP to process %d of examples/%s", s.owner(), s.name)
		if err := d.kids.Signal(s.owner(), syscall.SIGHUP); err != nil {
			return err
		}
	}
	return nil
}

// bySignal upgrades by SIGHUP to the processes that serve.
func (d *demo) bySignal(ctx context.Context, name string) error {
	old, begun := d.http.owner(), time.Now()
	if err := d.hangUp(); err != nil {
		return err
	}
	r, err := d.watch.await(ctx, func(pid int) bool { return pid != old })
	if err != nil {
		return err
	}
	if err := d.upgraded(name, r, begun); err != nil {
		return err
	}
	return d.chatUpgraded(ctx, 0)
}

// bySecondStart upgrades by starting the programs once more.
func (d *demo) bySecondStart(ctx context.Context, name string) error {
	begun := time.Now()
	pid, err := d.start(d.http)
	if err != nil {
		return err
	}
	chat, err := d.start(d.chat)
	if err != nil {
		return err
	}
	r, err := d.watch.await(ctx, func(p int) bool {
		_, ended := d.kids.Exited(pid)
		return p == pid || ended
	})
	if e, ended := d.kids.Exited(pid); ended {
		return fmt.Errorf("process %d, which should have taken over: %s", pid, e.Text)
	}
	if err != nil {
		return err
	}
	if err := d.upgraded(name, r, begun); err != nil {
		return err
	}
	return d.chatUpgraded(ctx, chat)
}

// upgraded records an upgrade of the HTTP server that succeeded.
func (d *demo) upgraded(name string, r reign, begun time.Time) error {
	if slices.Contains(d.http.chain, r.pid) {
		return fmt.Errorf("process %d serves again, which had been superseded", r.pid)
	}
	what := fmt.Sprintf("%s (process %d to %d)", name, d.http.owner(), r.pid)
	d.http.chain = append(d.http.chain, r.pid)
	d.took = append(d.took, r.first.Sub(begun))
	d.event(event{at: r.after.Add(r.first.Sub(r.after) / 2), what: what, upgrade: true, mark: fmt.Sprint(len(d.http.chain) - 1)})
	return nil
}

func (d *demo) event(e event) {
	d.events = append(d.events, e)
	d.log.note("%s", e.what)
}

// finish ends the servers. Those that were superseded must have ended by themselves, as nothing is connected any more;
// those that serve must end at SIGTERM; all with status 0.
func (d *demo) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	var owners, all []int
	for _, s := range d.servers() {
		if len(s.chain) > 0 {
			owners = append(owners, s.owner())
			all = append(all, s.chain...)
		}
	}
	if len(owners) == 0 {
		return
	}
	superseded := func() []int {
		return slices.DeleteFunc(d.kids.Alive(), func(p int) bool { return slices.Contains(owners, p) })
	}
	if err := children.Eventually(ctx, func() bool { return len(superseded()) == 0 }); err != nil {
		d.problem("superseded, without connections and still there after %v: processes %v", stepTimeout, superseded())
	}
	for _, pid := range owners {
		if err := d.kids.Signal(pid, syscall.SIGTERM); err != nil {
			d.problem("the last server: %v", err)
		}
	}
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), stepTimeout/2)
	defer cancel()
	if err := children.Eventually(ctx, func() bool { return len(d.kids.Alive()) == 0 }); err != nil {
		d.problem("still there %v after SIGTERM: processes %v", stepTimeout/2, d.kids.Alive())
	}
	for _, pid := range all {
		// One whose parent was still alive when it ended was its parent's to ask.
		if e, ok := d.kids.Exited(pid); ok && e.Code != 0 {
			d.problem("process %d, which served, ended with %s instead of 0", pid, e.Text)
		}
	}
	terminated, killed := d.kids.EndAll(time.Second)
	if len(terminated)+len(killed) > 0 {
		d.problem("had to be ended: processes %v by SIGTERM, %v by SIGKILL", terminated, killed)
	}
	for _, s := range d.servers() {
		if _, err := os.Lstat(s.segue); !errors.Is(err, os.ErrNotExist) {
			d.problem("the last process of examples/%s left the rendezvous %s behind (%v)", s.name, s.segue, err)
		}
	}
}
