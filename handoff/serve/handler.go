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
	if r.ContentLength != 0 && r.ProtoMajor == 1 {
		if s, ok := r.Context().Value(scopeKey{}).(*scope); ok && s.conn != nil {
			s.conn.expect(r.ContentLength)
		}
	}
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
	round, ok := h.st.gate.enter(r.Context(), s)
	if !ok {
		refuse(w, r, s.again())
		return
	}
	defer h.st.gate.exit(s, round)
	h.serve(w, r)
}

// refuse turns a request away that comes when the state has moved. again says that it is not the first on its
// connection.
func refuse(w http.ResponseWriter, r *http.Request, again bool) {
	stream := accepts(r, "text/event-stream")
	if r.ProtoMajor == 1 && (stream || again && repeatable(r)) {
		// The connection ends without an answer. Clients repeat such a request on a new connection (RFC 9110, section
		// 9.2.2); a browser's EventSource comes again, which it would not after a status other than 200.
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Connection", "close")
	if stream && r.Method == http.MethodGet {
		// Over HTTP/2 only an answer has GOAWAY sent. A stream that ends is one that an EventSource asks for again.
		w.Header().Set("Content-Type", "text/event-stream")
		return
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, "The server is being replaced. Try again.", http.StatusServiceUnavailable)
}

// repeatable reports whether clients repeat r by themselves if it gets no answer.
func repeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return r.ContentLength == 0
	}
	return false
}

// accepts reports whether r asks for a media type by its name.
func accepts(r *http.Request, media string) bool {
	for _, v := range r.Header["Accept"] {
		for option := range strings.SplitSeq(v, ",") {
			name, _, _ := strings.Cut(option, ";")
			if strings.EqualFold(strings.TrimSpace(name), media) {
				return true
			}
		}
	}
	return false
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
