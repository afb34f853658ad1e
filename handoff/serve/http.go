package serve

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// HTTP makes a [Server] of an *http.Server and a listener, which should be of the generation that [Run] is given, or
// wrap one that is (tls.NewListener, netutil.LimitListener).
//
// Run takes s and ln, and closes both. It replaces s.Handler and s.ConnState by functions that call what is there
// (http.DefaultServeMux for a nil Handler) and touches nothing else; s must not be changed from then on. Handlers get
// exactly net/http's own ResponseWriter, connections are exactly those that ln accepts, and a request costs no
// allocation more than without this package.
//
// The same s may be given with several listeners. Functions that s knows by RegisterOnShutdown are called when the
// generation has ended, once.
func HTTP(s *http.Server, ln net.Listener) Server {
	return newHTTP("http", s, ln, s.Serve)
}

// HTTPS is [HTTP] for HTTP/1.1 and HTTP/2 over TLS, as by s.ServeTLS: the names of files may be empty if s.TLSConfig
// has a certificate.
func HTTPS(s *http.Server, ln net.Listener, certFile, keyFile string) Server {
	return newHTTP("https", s, ln, func(l net.Listener) error {
		return s.ServeTLS(l, certFile, keyFile)
	})
}

func newHTTP(kind string, s *http.Server, ln net.Listener, accept func(net.Listener) error) Server {
	if s == nil || ln == nil {
		return Server{}
	}
	return Server{kind: kind, ln: ln, impl: &httpServer{http: s, accept: accept}}
}

// httpServer is an *http.Server on one listener.
type httpServer struct {
	http   *http.Server
	accept func(net.Listener) error
	done   chan struct{} // closed when accept has returned
	*httpState
}

// httpState is what the listeners of one *http.Server have in common.
type httpState struct {
	conns   conns
	leaving atomic.Int32 // not 0: a successor serves, send the clients there
	serving []<-chan struct{}
	stopped sync.Once
	stopErr error
}

func (h *httpServer) attach(r *runner) *conns {
	st := r.https[h.http]
	if st == nil {
		st = new(httpState)
		r.https[h.http] = st
		h.http.Handler = &handler{next: h.http.Handler, leaving: &st.leaving}
		h.http.ConnState = st.connState(h.http.ConnState)
	}
	h.httpState = st
	h.done = make(chan struct{})
	st.serving = append(st.serving, h.done)
	return &st.conns
}

func (h *httpServer) serve(l net.Listener) error {
	defer close(h.done)
	return h.accept(l)
}

// connState returns the hook that takes finished connections out of the set. What was hijacked is finished, for
// net/http and for us.
func (st *httpState) connState(next func(net.Conn, http.ConnState)) func(net.Conn, http.ConnState) {
	return func(c net.Conn, s http.ConnState) {
		if next != nil {
			next(c, s)
		}
		if s == http.StateClosed || s == http.StateHijacked {
			st.conns.remove(c)
		}
	}
}

// drain asks the clients to leave and waits until they have. It calls neither Shutdown, which drops requests that it
// has read, nor SetKeepAlivesEnabled, which closes idle connections: both are final.
//
// When it returns, the generation was revived, or there is no connection left that need be told: a revival that comes
// later finds nothing to be undone.
func (h *httpServer) drain(ctx context.Context) error {
	h.leaving.Add(1)
	defer h.leaving.Add(-1)
	err := h.conns.wait(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		h.force(ctx)
	}
	return err
}

// force closes the connections that are left, and leaves the server usable: where DrainTimeout is shorter than the
// guard, it may be revived yet.
func (st *httpState) force(ctx context.Context) {
	if st.conns.abort() == 0 {
		return
	}
	ctx, cancel := within(ctx, lastCall)
	defer cancel()
	_ = st.conns.wait(ctx) // whoever ignores his request's context is not waited for
}

func (h *httpServer) stop(ctx context.Context, drained bool) error {
	h.stopped.Do(func() { h.stopErr = h.httpState.stop(ctx, h.http, drained) })
	return h.stopErr
}

func (st *httpState) stop(ctx context.Context, s *http.Server, drained bool) error {
	st.leaving.Add(1)
	if drained {
		// A connection that was being accepted at the moment of the switch may have come to light only after drain
		// had counted. Its Accept loop has come to an end with the generation; from then on the count is final, and
		// so may be Shutdown.
		for _, done := range st.serving {
			select {
			case <-done:
			case <-ctx.Done():
			}
		}
		_ = st.conns.wait(ctx)
	}
	err := s.Shutdown(ctx) // also calls the functions of RegisterOnShutdown
	if err != nil && ctx.Err() != nil {
		st.force(ctx)
	}
	// Shutdown and Close return what closing the listeners gave, and these were closed before.
	_ = s.Close()
	return nil
}

// handler asks the clients to leave, when it is time to.
type handler struct {
	next    http.Handler
	leaving *atomic.Int32
}

// ServeHTTP sets the one header by which net/http itself ends a connection after its response, also over HTTP/2:
// there it sends GOAWAY for it.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.leaving.Load() > 0 && !switches(r) {
		w.Header().Set("Connection", "close")
	}
	next := h.next
	if next == nil {
		next = http.DefaultServeMux
	}
	next.ServeHTTP(w, r)
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
