package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/segue-go/segue/handoff/internal/chronicle"
	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/rendezvous"
	"github.com/segue-go/segue/handoff/timeline"
)

// withLock calls f while it holds the lock of the rendezvous, if there is one.
func (d *Driver) withLock(ctx context.Context, f func() error) error {
	return d.keeper.Path.WithLock(ctx, f)
}

// joinWithin bounds what Join does by the time that an incumbent may take to become ready itself, and a step; why is what is said if
// that is over.
func (d *Driver) joinWithin(ctx context.Context, why string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d.cfg.ReadyTimeout+d.cfg.StepTimeout, fmt.Errorf("%s: %w", why, os.ErrDeadlineExceeded))
}

// search finds the incumbent and succeeds it, or makes this generation the first.
func (d *Driver) search(ctx context.Context) error {
	ctx, cancel := d.joinWithin(ctx, "no incumbent took this process for its successor, and none was absent")
	defer cancel()
	succeed := func(ctx context.Context, conn *net.UnixConn) error { return d.succeed(ctx, conn, timeline.CauseCaller) }
	s := rendezvous.Search{Path: d.keeper.Path, Step: d.cfg.StepTimeout, Log: d.log, Succeed: succeed, Bind: d.keeper.Bind}
	r := rendezvous.Rescue{Path: d.keeper.Path, Step: d.cfg.StepTimeout, Log: d.log, Rule: d.rule(), Take: d.takeFrom, Bind: d.keeper.Bind}
	defer r.Close()
	if d.cfg.DryRun != "" {
		s.Bind = func() error { return errDryAlone }
	} else if d.cfg.Rescue != nil {
		s.Replace = r.Replace
	}
	s.Ours = func(err error) bool {
		var busy *BusyError
		return errors.As(err, &busy) && (busy.PID == os.Getpid() || busy.PID == r.Killed() && busy.PID != 0)
	}
	begun := time.Now()
	first, err := s.Run(ctx)
	if err != nil || !first {
		return err
	}
	if taken := r.Taken(); taken != nil && d.cfg.Rescued != nil {
		d.cfg.Rescued(taken)
		d.rescue = d.begin(newID(), timeline.Successor, timeline.CauseRescue, begun)
		d.rescue.change(func(h *chronicle.Half, _ time.Duration) { h.From.PID = r.Killed() })
	}
	return d.keeper.Open()
}

// takeFrom calls Config.Rescue.
func (d *Driver) takeFrom(ctx context.Context, incumbent *peer.Peer) (rendezvous.Sockets, error) {
	return d.cfg.Rescue(ctx, peerOf(incumbent))
}

// peerOf is p as the program sees it.
func peerOf(p *peer.Peer) Peer { return Peer{PID: p.PID, UID: p.UID, GID: p.GID} }

// rule is Config.Authorize; nil if there is none.
func (d *Driver) rule() func(*peer.Peer) error {
	if d.cfg.Authorize == nil {
		return nil
	}
	return func(p *peer.Peer) error { return d.cfg.Authorize(peerOf(p)) }
}

// introduce makes a Peer of the sender of f, if it is authorized.
func (d *Driver) introduce(l *link.Link, f link.Frame) (*peer.Peer, error) {
	var p *peer.Peer
	err := d.spares.Do(1, 1, func() (err error) {
		p, err = l.Introduce(f)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := rendezvous.Authorize(d.rule(), p, l.Conn); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

// rescued notes that a generation owns which has replaced an incumbent that did not answer.
func (d *Driver) rescued() {
	d.rescue.opened(true)
	if d.rescue != nil {
		d.rescue.reached(timeline.Confirmed)
		d.rescue.result(timeline.Done, nil)
		d.rescue.tell(nil)
	}
}
