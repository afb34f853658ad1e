package driver

import (
	"context"
	"os"

	"github.com/segue-go/segue/handoff/internal/succession"
)

// watch hears the predecessor while the program prepares itself. If this generation cannot take over any more, watch closes all
// copies at once: they would keep ports open that nobody serves.
func (p *predecessor) watch(ctx context.Context) {
	defer close(p.watched)
	in, ok := p.await(ctx)
	in.frame.Raw.Close()
	if !ok || p.gone.happened() {
		return // Ready was called, or Close
	}
	if p.whyOver = p.decideEarly(in); p.whyOver == nil {
		return
	}
	p.d.stop()
}

// decideQueued hears what the predecessor had said before this generation was ready.
func (p *predecessor) decideQueued() error {
	if p.left {
		return nil
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(os.ErrDeadlineExceeded)
	in, ok := p.await(ctx)
	if !ok {
		return nil
	}
	in.frame.Raw.Close()
	return p.decideEarly(in)
}

// decideEarly hears something of a predecessor that has not been told that this generation is ready. It returns an error if
// there is nothing to be ready for any more.
func (p *predecessor) decideEarly(in input) error {
	d := p.d
	in.cause = p.link.Explain(in.cause)
	d.decideIf(p, in, func() bool {
		d.whyOver = in.cause // under the same lock: a program that sees that this generation is over asks why
		return true
	})
	d.mu.Lock()
	inherits := d.toPredecessor == succession.Inheriting
	if inherits {
		d.whyOver = nil
	}
	d.mu.Unlock()
	switch {
	case !inherits:
		d.log.Error("this generation cannot take over any more", "error", in.cause)
		return in.cause
	case in.event == succession.PredecessorLeaves:
		d.log.Info("the incumbent stops and leaves the sockets to this process", "incumbent", p.link.Peer.PID)
	default:
		_ = p.replaceOutput() // nobody reads the pipe any more; beginServing has no more to replace
		d.log.Warn("the incumbent died; this process takes the sockets when it is ready", "incumbent", p.link.Peer.PID)
	}
	p.left = true
	return nil
}
