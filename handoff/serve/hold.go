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
var errLateState = errors.New("a section of state was registered after serve.Run had begun; call State before Run")

// AwaitBegun is of [live.Holder]. It also finds out which clients are slow: those that are in the midst of the same header
// for a while, and where the header is not recorded.
func (st *httpState) AwaitBegun(ctx context.Context) error {
	if !st.holds {
		return errLateState
	}
	st.ask(true)
	patience := maxPatience
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)/10)
	}
	inHeader := make(map[*tracked]uint32)
	for _, c := range st.tracked() {
		c.mu.Lock()
		if c.begins() {
			inHeader[c] = c.requests
		}
		c.mu.Unlock()
	}
	if len(inHeader) > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	for c, n := range inHeader {
		c.mu.Lock()
		c.slow = c.begins() && c.requests == n
		c.mu.Unlock()
	}
	if err := st.gate.awaitBegun(ctx); err != nil {
		return st.unanswered(false, nil, err)
	}
	return nil
}

// maxPatience is how long a client may be in the midst of a header until it is slow, but a tenth of the whole time.
const maxPatience = time.Second

// Hold is of [live.Holder].
//
// A tracked connection is stopped in its next Read if it stands between two requests then, or if its header is
// recorded. Until then it is waited for, unless its client is slow: its next request waits at the gate, as those on
// other connections do from the beginning. So it is if the client does not send the rest of a body in which no handler
// has an interest any more; after a tenth of the time if no handler answers it, because the client does not read the
// answer; and from the middle of the time on, if it is not the first try, with all.
func (st *httpState) Hold(ctx context.Context, again bool) error {
	st.ask(true)
	st.gate.set(true, false)
	for _, t := range st.trackers {
		t.hold(true)
	}
	// None that is quiet becomes busy, and none that is made or arrives from now on gets beyond its first Read.
	busy := st.tracked()
	var look, half <-chan time.Time
	if deadline, ok := ctx.Deadline(); ok {
		d := time.Until(deadline)
		ticker := time.NewTicker(max(d/20, time.Millisecond))
		defer ticker.Stop()
		look = ticker.C
		if again {
			half = time.After(d / 2)
		}
	}
	var done map[*tracked]uint32
	for all := false; ; {
		if busy = st.stillBusy(busy, all); len(busy) == 0 {
			break
		}
		select {
		case <-st.recheck:
		case <-look:
			done = st.unread(busy, done)
		case <-half:
			all = true
		case <-ctx.Done():
			return st.unanswered(true, busy, ctx.Err())
		}
	}
	if err := st.gate.awaitBegun(ctx); err != nil {
		return st.unanswered(true, nil, err)
	}
	return nil
}

// tracked returns the connections that can be held where they are.
func (st *httpState) tracked() []*tracked {
	var all []*tracked
	for _, t := range st.trackers {
		all = append(all, t.all()...)
	}
	return all
}

// begins reports whether c waits for the rest of a header that is not recorded. Callers hold c.mu.
func (c *tracked) begins() bool { return c.starved && !c.quiet() && c.stand.inHeader() }

// discards reports whether c waits for the rest of a body; that it is not a handler who reads it, the gate knows. Into
// one byte, net/http reads while a handler runs. Callers hold c.mu.
func (c *tracked) discards() bool {
	return c.starved && c.stand.phase == active && len(c.buf) > 1
}

// unread sets those apart whose request no handler answers any more, and that were so with the same request at the last look,
// which done is of. A single look could find one between two requests that it has sent at once. It returns what it has seen,
// for the next.
func (st *httpState) unread(busy []*tracked, done map[*tracked]uint32) map[*tracked]uint32 {
	seen := make(map[*tracked]uint32)
	for _, c := range busy {
		answered := st.gate.begun(&c.scope, true) > 0
		c.mu.Lock()
		if !answered && c.stand.phase == active && !c.quiet() { // in a header is who is waited for
			seen[c] = c.requests
			if n, ok := done[c]; ok && n == c.requests {
				c.apart = true
			}
		}
		c.mu.Unlock()
	}
	return seen
}

// stillBusy returns those for which a hold has to wait yet; if all are to be set apart, none. What those have begun that
// are set apart the gate knows, and what they begin waits there.
func (st *httpState) stillBusy(conns []*tracked, all bool) []*tracked {
	busy := conns[:0]
	for _, c := range conns {
		if c.isQuiet() {
			continue
		}
		answered := st.gate.begun(&c.scope, true) > 0
		c.mu.Lock()
		switch {
		case c.quiet(), c.apart:
		case all, !answered && c.discards(), c.slow && c.begins():
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

// abandon ends a hold of which nobody will say how it has ended, since the generation was closed: its requests are
// turned away, as if the state had moved.
func (st *httpState) abandon() {
	if st.gate.abandon() {
		for _, t := range st.trackers {
			t.hold(false)
		}
	}
}

// ask asks endless responses to end, or not any more. AwaitBegun, Hold, Resume and Gone are not called at the same time.
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

// unanswered makes err say which requests are being answered yet, all or those of earlier rounds, or are being sent on
// busy connections.
func (st *httpState) unanswered(all bool, busy []*tracked, err error) error {
	n := st.gate.left(all)
	var to []string
	for _, c := range st.conns.all() {
		if st.gate.begun(c.scope, all) > 0 && len(to) < maxNamed {
			to = append(to, c.RemoteAddr().String())
		}
	}
	for _, c := range busy {
		if st.gate.begun(&c.scope, all) > 0 {
			continue
		}
		if n++; len(to) < maxNamed {
			to = append(to, c.under.RemoteAddr().String())
		}
	}
	if n > len(to) {
		to = append(to, "others")
	}
	return fmt.Errorf("requests still being answered: %d, to %s; raise Config.StateTimeout, set the server's "+
		"ReadTimeout and WriteTimeout, or have endless responses end by serve.Draining: %w", n, strings.Join(to, ", "), err)
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

// recheckHold makes Hold look again.
func (t *tracker) recheckHold() {
	if !t.mode().holding() {
		return
	}
	select {
	case t.st.recheck <- struct{}{}:
	default:
	}
}
