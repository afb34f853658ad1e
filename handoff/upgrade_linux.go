package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/migrate"
	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/spawn"
	"github.com/segue-go/segue/handoff/internal/succession"
)

// errInit: see upgrade.
var errInit = errors.New("this process is PID 1, and its end would end its successor too; start this program by " +
	"'segue run -- PROGRAM', which is made to be PID 1 (docs/operations.md), or set Config.Init, or let a process in another container join the same Path")

// killGrace is how long a spawned successor has to end by itself once its attempt has failed.
const killGrace = time.Second

func (g *Generation) upgrade(ctx context.Context) error {
	err := g.errorf("upgrade", g.startAndHandOver(ctx))
	if err != nil {
		g.mu.Lock()
		g.lastError = err
		g.mu.Unlock()
		if !errors.Is(err, ErrStale) { // else it was said
			g.log.Error("upgrade failed", "error", err)
		}
	}
	return err
}

// command starts what comes next; nil if Config.Command returned nothing.
func (g *Generation) command() *exec.Cmd {
	cmd := g.origin.Command(g.cfg.Command, g.log)
	if cmd != nil {
		cmd.Env = g.supervised.addTo(cmd.Env)
	}
	return cmd
}

func (g *Generation) startAndHandOver(ctx context.Context) error {
	switch phase := g.currentPhase(); {
	case phase == PhaseStopped:
		return fmt.Errorf("%w: %w", ErrNotOwner, net.ErrClosed)
	case !phase.owner():
		return ErrNotOwner
	}
	if os.Getpid() == 1 {
		return errInit
	}
	a := &attempt{g: g, departure: migrate.NoDeparture()}
	if err := g.begin(ctx, a); err != nil {
		return err
	}
	if err := g.beginOffering(); err != nil {
		g.end(a)
		return err
	}
	var child *spawn.Child
	var conn *net.UnixConn
	cmd := g.command()
	var err error
	_ = g.spares.Do(spares.Spawn, 1, func() error {
		child, conn, err = spawn.Start(cmd, g.cfg.Path, g.cfg.Siblings)
		return nil // a command cannot be started again
	})
	if err != nil {
		a.cause = err
		a.happen(succession.AttemptFailed)
		g.end(a)
		return err
	}
	g.log.Info("successor started", "successor", child.PID())
	l := link.New(conn, g.linkOptions("successor", true))
	g.mu.Lock()
	a.child, a.link, l.Peer = child, l, child.Peer
	g.mu.Unlock()

	result := make(chan error, 1)
	go func() { // a task since begin
		err := a.handOver(ctx, func() { result <- nil })
		if a.handedBack {
			g.makeRoom(a)
			if err != nil {
				result <- outcome(child, err)
			}
			g.seeOff(child, err != nil)
			g.tasks.Done()
			return
		}
		// A successor that owns lives on, whatever becomes of this generation.
		if err != nil && (g.currentPhase().owner() || child.Peer.Dead()) {
			child.End(killGrace)
			err = childError(child, err)
		}
		g.makeRoom(a) // before the caller hears of a failure, so that it can try again
		if err != nil {
			result <- err
		}
		child.Release()
		g.tasks.Done()
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
	return &ChildError{PID: c.PID(), State: c.State(), Exit: c.Exit(), Output: c.LastLines(), Err: cause}
}
