package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/segue-go/segue/handoff/internal/control"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/rendezvous"
	"github.com/segue-go/segue/handoff/internal/spares"
	"github.com/segue-go/segue/handoff/internal/spawn"
	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/handoff/timeline"
)

// chain is what a generation has to do with the ones before and after it.
type chain struct {
	waiting     int          // upgrades that this process wants and that wait for a silent successor; guarded by Driver.mu
	attempt     *attempt     // the handover under way, one at a time; guarded by Driver.mu
	predecessor *predecessor // nil for the first generation; guarded by Driver.mu once this generation owns

	keeper  rendezvous.Keeper // of the socket at which successors call
	control *control.Server   // at the one at which somebody asks
	spares  spares.Pool       // descriptors for a handover

	rescue *record // of the rescue by which this generation came to be; nil: none

	origin spawn.Origin // what successors are started with
	stdio  spawn.Stdio  // standard output and error
}

func (d *Driver) initChain() {
	d.spares.Alone, d.control = d.withoutAccepting, d.newControl()
	d.keeper = rendezvous.Keeper{
		Path: rendezvous.Path(d.cfg.Path), Step: d.cfg.StepTimeout, Life: d.ctx, Log: d.log, Mine: d.keepsRendezvous, Accept: d.awaitCallers,
	}
}

func (d *Driver) join(ctx context.Context) error {
	d.origin = spawn.NewOrigin()
	err := d.meet(ctx)
	if err == nil && d.cfg.Command == nil {
		d.origin.Report(d.log)
	}
	if err == nil {
		d.task(d.attendControl)
	}
	return err
}

// meet finds the incumbent and succeeds it, or makes this generation the first.
func (d *Driver) meet(ctx context.Context) error {
	conn, left, err := spawn.Inherited(d.cfg.Path, d.log)
	if err != nil {
		return err
	}
	if left {
		d.stdio.SurviveSIGPIPE()
		ctx, cancel := d.joinWithin(ctx, "the incumbent that started this process has not offered everything")
		defer cancel()
		return d.succeed(ctx, conn, timeline.CauseUpgrade)
	}
	if d.cfg.Path == "" && d.cfg.DryRun != "" {
		return errDryAlone
	}
	if d.cfg.Path == "" {
		return nil
	}
	return d.search(ctx)
}

// fillSpares keeps descriptors for a handover of what this generation has now.
func (d *Driver) fillSpares() {
	d.mu.Lock()
	n := d.Sections.Len()
	if d.cfg.PullOnly {
		n += d.Sockets.Len() // copies that the successor takes; otherwise they are sent if there is no room
	}
	d.mu.Unlock()
	d.spares.Fill(n)
}

// withoutAccepting calls f while the sockets of a generation that owns are paused, so that they do not take the descriptors
// that are set free for f. No switch begins meanwhile. f must not lock mu.
func (d *Driver) withoutAccepting(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.control.Alone(func() {
		if !d.phase.Owns() {
			f()
			return
		}
		d.Sockets.WithoutAccepting(f)
	})
}

// linkOptions are the options of a link to other. introduces: the other process sends its first message with its pidfd.
func (d *Driver) linkOptions(other string, introduces bool) link.Options {
	o := link.Options{Other: other, Step: d.cfg.StepTimeout}
	d.traceLink(&o, other)
	if introduces {
		o.Spares = &d.spares
	}
	return o
}

// peersLocked returns the process ids of the generations before and after.
func (d *Driver) peersLocked() (predecessor, successor int) {
	if p := d.predecessor; p != nil && p.link.Peer != nil && !p.gone.happened() {
		predecessor = p.link.Peer.PID
	}
	if a := d.attempt; a != nil {
		successor = a.pid()
	}
	return predecessor, successor
}

// sendDrop tells a predecessor in its guard that this generation has closed a socket, so that its copy does not keep the
// port open with nobody behind.
func (d *Driver) sendDrop(item int) {
	d.mu.Lock()
	p := d.predecessor
	d.mu.Unlock()
	if p == nil || p.released.happened() {
		return
	}
	if err := p.link.Tell(&wire.Drop{Item: item}); err != nil {
		d.log.Warn("the predecessor was not told of a closed socket", "error", err)
	}
}

// announceClose says goodbye. The caller has set closing.
func (d *Driver) announceClose() {
	d.mu.Lock()
	p, phase, refused := d.predecessor, d.phase, d.refused
	d.mu.Unlock()
	e, reason := succession.Stop, errors.New("closed")
	switch phase {
	case succession.PhaseStopped:
		return
	case succession.PhaseStarting:
		e, reason = succession.GiveUp, errors.New("closed before it was ready")
		if refused != nil {
			reason = fmt.Errorf("%w, after: %w", reason, refused)
		}
	}
	d.decide(p, input{event: e, cause: reason})
}

// closeChain closes what the chain holds.
func (d *Driver) closeChain(owner bool) {
	d.mu.Lock()
	p := d.predecessor
	d.mu.Unlock()
	d.spares.Close()
	if p != nil {
		p.close()
	}
	d.Conns.Close()
	d.stdio.Close()
	d.endControl(owner)
	d.keeper.Leave(owner)
}

// park takes everything out of the poller, for somebody else owns it.
func (d *Driver) park() error { return d.held.Park(d.keeper.Socket()) }
