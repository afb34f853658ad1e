package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/segue-go/segue/handoff/internal/pidfile"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/internal/startenv"
)

// Ready makes this generation the owner of the sockets and opens them. On an error it does not and never will.
func (d *Driver) Ready(ctx context.Context) error {
	d.readying.Lock() // a second call waits for what the first one finds
	defer d.readying.Unlock()
	d.mu.Lock()
	if d.phase != succession.PhaseStarting || d.endsLocked() {
		defer d.mu.Unlock()
		switch {
		case d.endsLocked():
			return d.closedLocked()
		case d.phase.Owns():
			return nil
		default:
			return ErrNotOwner
		}
	}
	d.tasks.Add(1) // here, where Close has not begun to wait
	d.mu.Unlock()
	defer d.tasks.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(d.closeBegun, func() { cancel(context.Cause(d.closeBegun)) })()
	if err := d.own(ctx); err != nil {
		err = failed("ready", succession.PhaseStarting, err)
		d.log.Error("this generation does not take over", "error", err)
		d.stop()
		return err
	}
	return nil
}

// Close ends this generation for good, at the caller's wish, and waits for what it has running. It is called at most once.
func (d *Driver) Close() {
	d.mu.Lock()
	d.closing = true
	d.mu.Unlock()
	d.beginClose(net.ErrClosed)
	d.readying.Lock() // a Ready under way finds out first whether it owns
	if d.Phase().Owns() {
		if err := d.Sections.HoldExclusive(context.Background(), nil); err != nil {
			d.log.Error("closed although something that only one process may have is not let go of; end this process", "error", err)
		}
	}
	d.announceClose() // before the links are closed
	d.readying.Unlock()
	d.flush(time.Now(), d.cfg.StopTimeout)
	d.cancel(net.ErrClosed)
	d.tasks.Wait()
	d.stop()
}

// stop gives up everything that this generation holds. What it owned is closed; of what somebody else owns, its copies are.
func (d *Driver) stop() {
	d.stopping.Lock()
	defer d.stopping.Unlock()
	d.mu.Lock()
	owner := d.phase.Owns()
	all := d.Sockets.Take()
	end := d.endStatesLocked()
	d.mu.Unlock()
	if keeps := d.cfg.Keeps; owner && keeps != nil {
		for _, s := range all {
			if keeps(s) {
				s.LeavePath()
			}
		}
	}
	d.report(end)

	d.released.happen() // before Accept says so
	for _, s := range all {
		_ = s.CloseAs(owner || s.Sole())
	}
	if owner {
		for _, name := range d.pidFiles() {
			pidfile.Remove(name)
		}
	}
	d.supervisor.Lock()
	d.dropName()
	d.supervisor.Unlock()
	d.closeChain(owner)
	d.started.happen()
	d.cancel(net.ErrClosed)
}

// pidFiles are the names of the PID files that are configured.
func (d *Driver) pidFiles() []string {
	return slices.DeleteFunc([]string{d.cfg.PIDFile, d.cfg.Supervisor}, func(name string) bool { return name == "" })
}

// writePIDFile names this process in a PID file, if there is to be one.
func (d *Driver) writePIDFile(name string) {
	if name == "" {
		return
	}
	if err := pidfile.Write(name); err != nil {
		d.log.Error("the PID file was not written", "path", name, "error", err)
	}
}

// writePIDFiles names this process in both.
func (d *Driver) writePIDFiles() {
	d.tellSupervisor(true)
	d.writePIDFile(d.cfg.PIDFile)
}

// tellSupervisor names this process in the supervisor's PID file, once until it is superseded; or notes there that it is
// superseded, by another supervisor's process: one of the same supervisor has named itself by then.
func (d *Driver) tellSupervisor(serves bool) {
	d.supervisor.Lock()
	defer d.supervisor.Unlock()
	if d.named == serves {
		return
	}
	name := d.cfg.Supervisor
	if name == "" {
		return
	}
	write := pidfile.Write
	if !serves {
		write = pidfile.Supersede
	} else if p := d.nameReady; p != nil {
		d.nameReady = nil
		write = func(string) error { return p.Put() }
	}
	if err := write(name); err != nil {
		d.log.Error("the PID file was not written", "path", name, "error", err)
		return // Announce tries again
	}
	d.named = serves
}

// prepareName has the supervisor's PID file ready to be put in place: a supervisor that does not hear who serves would end that process.
// So who could not write it does not take over.
func (d *Driver) prepareName() error {
	name := d.cfg.Supervisor
	if name == "" {
		return nil
	}
	p, err := pidfile.Prepare(name)
	if err != nil {
		return fmt.Errorf("the supervisor cannot be told that this process serves: write its PID file ("+startenv.PIDFile+"); make room there, or start the supervisor again if its directory is gone: %w", err)
	}
	d.supervisor.Lock()
	defer d.supervisor.Unlock()
	d.dropName()
	d.nameReady = p
	return nil
}

// dropName gives up what prepareName has made. The caller has supervisor.
func (d *Driver) dropName() {
	if d.nameReady != nil {
		d.nameReady.Drop()
		d.nameReady = nil
	}
}

// settle tells the program, once, that the sockets will not go back to a predecessor. It says nothing if they have gone back, or if
// this generation ends.
func (d *Driver) settle() {
	d.mu.Lock()
	if d.settled || d.toPredecessor.HandedBack() || d.endsLocked() {
		d.mu.Unlock()
		return
	}
	d.settled = true
	d.mu.Unlock()
	if f := d.cfg.Settled; f != nil {
		f()
	}
}

// openLocked opens every socket. On an error none is open.
func (d *Driver) openLocked() error {
	if d.endsLocked() {
		return net.ErrClosed
	}
	return d.held.Open()
}

// endsLocked reports whether this generation is being closed, or is over, so that it begins nothing any more. The tables hear of Close
// only when what is under way has ended: a Ready, a hand-back, the answer to COMMIT. So nothing but this tells of the time in between,
// and nobody else asks closing.
func (d *Driver) endsLocked() bool { return d.closing || d.phase == succession.PhaseStopped }

// closedLocked is the error of a generation that is over: net.ErrClosed, and why.
func (d *Driver) closedLocked() error {
	if d.whyOver != nil && !errors.Is(d.whyOver, net.ErrClosed) {
		return fmt.Errorf("%w: %w", net.ErrClosed, d.whyOver)
	}
	return net.ErrClosed
}
