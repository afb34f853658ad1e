package handoff

import (
	"fmt"
	"time"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/wire"
)

// This is what a generation that drains makes of the end of the successor to which it was released. It cannot serve again,
// since its copies of the sockets are closed. But it can tell a supervisor that nobody serves.

// orphaned is for the death of a released successor that nobody wished, and that left nobody to serve.
func (a *attempt) orphaned() {
	g, p := a.g, a.link.Peer
	err := fmt.Errorf("%w: pid %d%s", ErrSuccessorDied, p.PID, exitText(p))
	g.mu.Lock()
	g.died, g.lastError = err, err
	g.mu.Unlock()
	g.log.Error("the successor died after the guard: nobody serves, and this process cannot any more; start the program anew "+
		"(this process drains, and ends with an error then)", "error", err)
}

// bye tells the successor, or the predecessor that has the sockets again, that this generation is drained and ends. The error is
// that the successor has died unwished.
func (g *Generation) bye() error {
	if g.handingBack() {
		_ = g.predecessor.link.Send(&wire.Bye{})
		return nil
	}
	g.mu.Lock()
	a := g.attempt
	var judged event
	if a != nil {
		judged = a.judged
	}
	g.mu.Unlock()
	if judged.c == nil {
		return nil
	}
	if link.Over(a.link.Send(&wire.Bye{})) || a.link.Peer.Dead() { // what is known of that may be about to be found out
		t := time.NewTimer(2 * g.cfg.StepTimeout)
		defer t.Stop()
		select {
		case <-judged.c:
		case <-g.ctx.Done():
		case <-t.C:
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.died
}

// tellAncestor tells a predecessor that was released whether its successor's death would leave nobody to serve: GOODBYE
// says that it would not, OWNED that it would again.
func (g *Generation) tellAncestor(m wire.Message) {
	g.mu.Lock()
	p := g.predecessor
	g.mu.Unlock()
	if p == nil || p.gone.happened() {
		return
	}
	g.say(p, m)
}
