package driver

import (
	"encoding/json"
	"errors"
	"os"

	"github.com/segue-go/segue/handoff/internal/succession"
	"github.com/segue-go/segue/handoff/internal/wire"
	"github.com/segue-go/segue/internal/startenv"
)

// A dry run is a handoff that ends before anything happens: the successor takes what it is offered, the program starts and asks for its
// sockets, and at Ready it gives up. What it has found is written to a file. An incumbent that knows of it compares the receipts
// first; with another one the successor gives up before it sends them, since they would be answered by COMMIT.

// errDryRun ends a dry run that has gone well.
var errDryRun = errors.New("that was a dry run; a real one would go on from here")

// errDryAlone: see startenv.DryRun.
var errDryAlone = errors.New("a dry run needs an incumbent, and there is none at the path of this program")

// dry reports whether the successor called for a dry run. One that this process has started is to take over.
func (a *attempt) dry() bool {
	return a.hello != nil && a.hello.DryRun && a.kind == kindCaller
}

// yields reports whether another attempt may take the place of a. It is called with Driver.mu held.
func (a *attempt) yields() bool {
	return !a.owesSince.IsZero() || a.dry() && a.displace != nil
}

// endDryRun has the incumbent compare what came, if it can, and writes what was found. It always returns an error.
func (p *predecessor) endDryRun() error {
	d := p.d
	r := startenv.DryReport{Incumbent: p.link.Peer.PID, Taken: []string{}, Left: []string{}, New: []string{}}
	for i, s := range d.Sockets.Inherited(len(p.offer)) {
		switch item := p.offer[i].item; item.Kind {
		case wire.KindRendezvous, wire.KindStdout, wire.KindStderr:
		default:
			if s != nil {
				r.Taken = append(r.Taken, item.Name)
			} else {
				r.Left = append(r.Left, item.Name)
			}
		}
	}
	for _, s := range d.Sockets.All() {
		if _, inherited := s.Place(); !inherited {
			r.New = append(r.New, s.Name())
		}
	}
	err := errDryRun
	if p.checks {
		if err = p.sendReceipts(); err == nil {
			err = p.awaitVerdict()
		}
		r.Checked = errors.Is(err, errDryRun)
	}
	if !errors.Is(err, errDryRun) {
		r.Error = p.link.Explain(err).Error()
	}
	if writeErr := writeReport(d.cfg.DryRun, r); writeErr != nil {
		err = errors.Join(err, writeErr)
	}
	d.decide(p, input{event: succession.GiveUp, cause: err})
	return err
}

// awaitVerdict waits for ABORT, which an incumbent that has found nothing wrong says with DryRun set.
func (p *predecessor) awaitVerdict() error {
	f, err := p.link.Recv(p.ready, p.d.cfg.StepTimeout)
	if err != nil {
		return err
	}
	defer f.Raw.Close()
	if m, ok := f.Msg.(*wire.Abort); ok && m.DryRun {
		return errDryRun
	}
	return p.link.Unexpected(f.Msg)
}

func writeReport(file string, r startenv.DryReport) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	return errors.Join(err, f.Close())
}

// abort says why a successor will never own.
func abort(cause error) *wire.Abort {
	return &wire.Abort{Reason: cause.Error(), DryRun: errors.Is(cause, errDryRun)}
}
