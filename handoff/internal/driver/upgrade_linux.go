package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/segue-go/segue/handoff/internal/chronicle"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/spawn"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/timeline"
)

// errInit: the end of process 1 of a PID namespace ends all processes in it, the successor included (pid_namespaces(7)).
var errInit = errors.New("this process is PID 1, and its end would end its successor too; start this program by " +
	"'segue run -- PROGRAM', which is made to be PID 1 (docs/operations.md), or set Config.Init, or let a process in another container join the same Path")

// killGrace is how long a spawned successor has to end by itself once its attempt has failed.
const killGrace = time.Second

// command starts what comes next; nil if Config.Command returned nothing.
func (d *Driver) command() *exec.Cmd {
	cmd := d.origin.Command(d.cfg.Command, d.log)
	if cmd != nil && d.cfg.Environ != nil {
		cmd.Env = d.cfg.Environ(cmd.Env)
	}
	return cmd
}

func (d *Driver) startAndHandOver(ctx context.Context) error {
	switch phase := d.Phase(); {
	case phase == succession.PhaseStopped:
		return fmt.Errorf("%w: %w", ErrNotOwner, net.ErrClosed)
	case !phase.Owns():
		return ErrNotOwner
	}
	if os.Getpid() == 1 {
		return errInit
	}
	a := newAttempt(d, kindChild, nil)
	if err := d.beginAttempt(ctx, a); err != nil {
		return err
	}
	a.rec = d.begin(newID(), timeline.Incumbent, timeline.CauseUpgrade, time.Now())
	a.rec.stage(timeline.StageSpawn)
	if err := d.beginOffering(); err != nil {
		a.conclude(err)
		d.endAttempt(a)
		return err
	}
	var child *spawn.Child
	var conn *net.UnixConn
	cmd := d.command()
	var err error
	_ = d.spares.Do(spares.Spawn, 1, func() error {
		child, conn, err = spawn.Start(cmd, d.cfg.Path, d.cfg.Siblings)
		return nil // a command cannot be started again
	})
	if err != nil {
		a.cause = err
		a.conclude(errStart{err})
		a.decide(succession.AttemptFailed)
		d.endAttempt(a)
		return err
	}
	a.rec.stageEnds(timeline.StageSpawn)
	a.rec.stage(timeline.StageHello)
	a.rec.change(func(h *chronicle.Half, _ time.Duration) { h.To.PID = child.PID() })
	d.log.Info("successor started", "successor", child.PID())
	options := d.linkOptions("successor", true)
	options.Expect, options.Aside = child.Expected(), a.heard
	l := link.New(conn, options)
	d.mu.Lock()
	a.child, a.link, l.Peer = child, l, child.Peer
	d.mu.Unlock()

	result := make(chan error, 1)
	go func() { // a task since beginAttempt
		err := a.handOver(ctx, func() { result <- nil })
		if a.handedBack {
			d.closeAttempt(a)
			if err != nil {
				err = outcome(child, err)
			}
			a.conclude(err)
			if err != nil {
				result <- err
			}
			d.awaitChildEnd(child, err != nil)
			d.tasks.Done()
			return
		}
		// A successor that owns lives on, whatever becomes of this generation.
		if err != nil && (d.Phase().Owns() || child.Peer.Dead()) {
			child.End(killGrace)
			err = childError(child, err)
		}
		a.conclude(err)
		d.closeAttempt(a) // before the caller hears of a failure, so that it can try again
		if err != nil {
			result <- err
		}
		child.Release()
		d.tasks.Done()
	}()
	return <-result
}

// outcome says how a child that has handed back ended, if it does within killGrace. Otherwise it lives on, to answer what it
// has accepted.
func outcome(c *spawn.Child, cause error) error {
	if !c.Peer.Await(context.Background(), killGrace) {
		return childError(c, fmt.Errorf("%w; successor pid %d still answers what it has accepted", cause, c.PID()))
	}
	c.End(0)
	return childError(c, cause)
}

func childError(c *spawn.Child, cause error) error {
	ended, exit := c.Exit()
	return &ChildError{PID: c.PID(), State: c.State(), Ended: ended, Exit: exit, Output: c.LastLines(), Err: cause}
}
