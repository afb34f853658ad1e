package serve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// errLateState is what a program gets that has no section when Run begins, and one later: nothing of its requests is
// known then.
var errLateState = errors.New("serve: a section of state was registered after serve.Run had begun; call State before Run")

// Settle is of [live.Holder].
func (st *httpState) Settle(ctx context.Context) error {
	if !st.holds {
		return errLateState
	}
	st.ask(true)
	if err := st.gate.settle(ctx); err != nil {
		return st.unanswered(false, err)
	}
	return nil
}

// Hold is of [live.Holder].
//
// A tracked connection is stopped in its next Read if it stands between two requests then, or if its header is recorded.
// It is waited for only as long as net/http has something to do there: a client that is silent in the midst of a header
// is not, nor one that has always more, from the middle of the time on. The next request of these waits at the gate, as
// those on other connections do from the beginning.
func (st *httpState) Hold(ctx context.Context) error {
	st.ask(true)
	st.gate.set(true, false)
	var busy []*tracked
	for _, t := range st.trackers {
		t.hold(true)
		busy = append(busy, t.all()...)
	}
	// None that is quiet becomes busy, and none that is made or arrives from now on gets beyond its first Read.
	var half <-chan time.Time
	if deadline, ok := ctx.Deadline(); ok {
		timer := time.NewTimer(time.Until(deadline) / 2)
		defer timer.Stop()
		half = timer.C
	}
	for late := false; ; {
		if busy = stillBusy(busy, late); len(busy) == 0 {
			break
		}
		select {
		case <-st.poked:
		case <-half:
			late = true
		case <-ctx.Done():
			return st.unanswered(true, ctx.Err())
		}
	}
	if err := st.gate.settle(ctx); err != nil {
		return st.unanswered(true, err)
	}
	return nil
}

// stillBusy returns those for which a hold has to wait yet. If it is late, that is none: what they have begun the gate
// knows, and what they begin waits there.
func stillBusy(conns []*tracked, late bool) []*tracked {
	busy := conns[:0]
	for _, c := range conns {
		c.mu.Lock()
		switch {
		case c.quiet():
		case late, c.starved && c.stand.inHeader():
			c.apart = true
		default:
			busy = append(busy, c)
		}
		c.mu.Unlock()
	}
	return busy
}

// Resume is of [live.Holder].
func (st *httpState) Resume() {
	st.gate.set(false, false)
	for _, t := range st.trackers {
		t.hold(false)
	}
	st.ask(false)
}

// Gone is of [live.Holder]. The connections that are held are told what becomes of them by Depart.
func (st *httpState) Gone() {
	st.gate.set(false, true)
	st.ask(false)
}

// abandon ends a hold of which nobody will say how it has ended, since the generation was closed: its requests are turned
// away, as if the state had moved.
func (st *httpState) abandon() {
	if st.gate.abandon() {
		for _, t := range st.trackers {
			t.hold(false)
		}
	}
}

// ask asks endless responses to end, or not any more. Settle, Hold, Resume and Gone are not called at the same time.
func (st *httpState) ask(yes bool) {
	if st.asked == yes {
		return
	}
	if st.asked = yes; yes {
		st.draining.begin(true)
	} else {
		st.draining.end(true)
	}
}

// maxNamed is how many clients an error names.
const maxNamed = 3

// unanswered makes err say which requests are being answered yet: all, or those of earlier rounds.
func (st *httpState) unanswered(all bool, err error) error {
	var to []string
	for _, c := range st.conns.all() {
		if st.gate.begun(c.scope, all) == 0 {
			continue
		}
		if len(to) == maxNamed {
			to = append(to, "others")
			break
		}
		to = append(to, c.RemoteAddr().String())
	}
	return fmt.Errorf("requests still being answered: %d, to %s; raise Config.StateTimeout, set the server's ReadTimeout and "+
		"WriteTimeout, or have endless responses end by serve.Draining: %w", st.gate.left(all), strings.Join(to, ", "), err)
}

// hold begins or ends a hold of the connections.
func (t *tracker) hold(yes bool) {
	t.mu.Lock()
	t.held = yes
	t.set(yes)
	t.mu.Unlock()
	if !yes {
		t.free()
	}
}

// poke makes Hold look again.
func (t *tracker) poke() {
	if !t.mode().holding() {
		return
	}
	select {
	case t.st.poked <- struct{}{}:
	default:
	}
}
