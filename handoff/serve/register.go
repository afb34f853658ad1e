package serve

import (
	"fmt"

	"github.com/segue-go/segue/handoff/internal/live"
)

// held is the protocol of servers whose requests can be held, and whose connections cannot move. None is ever sent.
const held = "http/held"

// register makes the connections of h ones that can move, if they are of a generation's listener and neither wrapped
// nor encrypted; and has the requests of h held where there is state that moves.
func (h *httpServer) register() {
	reg, ok := h.ln.(live.Registrar)
	if !ok || !canMove {
		return
	}
	if s, ok := h.ln.(interface{ Holds() bool }); ok && s.Holds() {
		h.holds = true
	}
	moves := h.plain && h.ordered()
	if !moves && !h.holds {
		return
	}
	h.tracker = newTracker(h.httpState, h.http, h.ln)
	h.tracker.moves = moves
	name := held
	if moves {
		name = protocol
	}
	h.forget = reg.Register(name, h.tracker)
}

// ordered reports whether net/http does what moving depends on.
func (h *httpServer) ordered() bool {
	if h.http.Protocols != nil && !h.http.Protocols.HTTP1() {
		return false
	}
	if !h.tested {
		h.tested = true
		if h.order = selfTest(h.http, nil); h.order != nil {
			logTo(h.http, fmt.Sprintf("serve: connections will not move, but be drained: %v", h.order))
		}
	}
	return h.order == nil
}
