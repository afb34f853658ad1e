package serve

import (
	"fmt"

	"github.com/segue-go/segue/handoff/internal/live"
)

// register makes the connections of h ones that can move, if they are of a generation's listener and neither wrapped
// nor encrypted.
func (h *httpServer) register() {
	reg, ok := h.ln.(live.Registrar)
	if !ok || !canMove || !h.plain || !h.ordered() {
		return
	}
	h.tracker = newTracker(h.httpState, h.http, h.ln)
	h.trackers = append(h.trackers, h.tracker)
	h.forget = reg.Register(protocol, h.tracker)
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
