package serve

import (
	"net/http"
	"strings"
)

// handler asks the clients to leave, when it is time to, and stops requests while state moves.
type handler struct {
	next http.Handler
	st   *httpState
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.st.holds {
		h.gated(w, r)
		return
	}
	h.serve(w, r)
}

// serve sets the one header by which net/http itself ends a connection after its response, also over HTTP/2: there it
// sends GOAWAY for it. A connection that moves need not end.
func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	if h.st.leave() && !switches(r) && !h.leaves(r) && h.st.due(r.RemoteAddr) {
		w.Header().Set("Connection", "close")
	}
	next := h.next
	if next == nil {
		next = http.DefaultServeMux
	}
	next.ServeHTTP(w, r)
}

func (h *handler) leaves(r *http.Request) bool {
	s, ok := r.Context().Value(scopeKey{}).(*scope)
	return ok && s.leaves()
}

// gated is serve where state can move.
func (h *handler) gated(w http.ResponseWriter, r *http.Request) {
	s, ok := r.Context().Value(scopeKey{}).(*scope)
	if !ok {
		s = &h.st.scope // somebody has replaced the context
	}
	counted, ok := h.st.gate.enter(r.Context(), s)
	if !ok {
		w.Header().Set("Connection", "close")
		w.Header().Set("Retry-After", "1")
		http.Error(w, "The server is being replaced. Try again.", http.StatusServiceUnavailable)
		return
	}
	if counted {
		defer h.st.gate.exit(s)
	}
	h.serve(w, r)
}

// switches reports whether r wants to go on in another protocol on this connection. The answer to that has a
// Connection header of its own, and ends net/http's part in the connection anyway.
func switches(r *http.Request) bool {
	if r.ProtoMajor != 1 {
		return false
	}
	if r.Method == http.MethodConnect {
		return true
	}
	if len(r.Header["Upgrade"]) == 0 {
		return false
	}
	for _, v := range r.Header["Connection"] {
		for token := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return true
			}
		}
	}
	return false
}
