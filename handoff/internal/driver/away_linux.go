package driver

import (
	"strconv"
	"time"

	"github.com/segue-go/segue/handoff/internal/chronicle"
	"github.com/segue-go/segue/handoff/timeline"
)

// maxAway is how many records there are of callers that were turned away: a flood must not push out what happened before.
const maxAway = 8

// turnedAway keeps a record of a caller with which no handoff could begin, if that is somebody's mistake. There is one for each
// reason and user, of the last such caller: a supervisor may start the wrong program again and again. It counts once.
func (a *attempt) turnedAway(called time.Time, err error) {
	reason := reasonOf(err)
	switch reason {
	case timeline.ReasonVersion, timeline.ReasonUnauthorized, timeline.ReasonTransport, timeline.ReasonUnsupported,
		timeline.ReasonDescriptors, timeline.ReasonProtocol:
	default:
		return // it was early, or late, and comes again
	}
	if a.dry() {
		return
	}
	key := string(reason)
	if a.caller.PID != 0 { // otherwise nothing is known of it
		key += " " + strconv.Itoa(int(a.caller.UID))
	}
	d, n := a.d, &a.d.annals
	n.mu.Lock()
	rec := n.away[key]
	again := rec != nil && n.book.Renew(rec.id)
	full := rec == nil && len(n.away) >= maxAway
	n.mu.Unlock()
	if full {
		return
	}
	if !again {
		rec = d.newRecord(newID(), timeline.Incumbent, timeline.CauseCaller, called)
		if rec == nil {
			return
		}
		n.mu.Lock()
		if n.away == nil {
			n.away = make(map[string]*record)
		}
		n.away[key] = rec
		n.mu.Unlock()
	}
	rec.change(func(h *chronicle.Half, at time.Duration) {
		back := int64(time.Since(called))
		h.Clock = now()
		h.Clock.Mono, h.Clock.Wall = h.Clock.Mono-back, h.Clock.Wall-back
		h.Ended = time.Duration(max(back, 1))
		h.To = timeline.Process{PID: a.caller.PID}
		if a.hello != nil {
			h.To.Program = chronicle.Cut(a.hello.Name, timeline.MaxName)
		}
		h.Result, h.Reason, h.Error = timeline.Failed, reason, chronicle.Cut(err.Error(), timeline.MaxText)
	})
	if !again {
		rec.tell(err)
	}
}
