package serve

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-go/segue/handoff/internal/live"
)

// HTTP makes a [Server] of an *http.Server and a listener, which should be of the generation that [Run] is given, or
// wrap one that is (tls.NewListener, netutil.LimitListener).
//
// Idle HTTP/1.1 connections that ln itself accepts, TCP or Unix, move to the successor, if it serves the same listener
// by HTTP too. net/http then gets them wrapped: what s.ConnContext and s.ConnState get, and Hijack returns, is no
// *net.TCPConn or *net.UnixConn, but has one in it, by its method NetConn; its method SyscallConn is that of the
// connection, too. Reading and closing go through the wrapper, everything else (sendfile among it) is that of the
// connection. s.ConnState hears that a connection that moves is closed here, and that it is new there, where
// s.ConnContext is called anew: what it had put into the context stays behind. Connections of a listener that wraps ln
// are left as they are, and do not move.
//
// Run takes s and ln, and closes both. It replaces s.Handler, s.ConnState and s.ConnContext by functions that call what
// is there (http.DefaultServeMux for a nil Handler) and touches nothing else; s must not be changed from then on.
// Handlers get exactly net/http's own ResponseWriter, and a request costs no allocation more than without this package.
// s.BaseContext gets listeners of Run's own, with the address of ln, and is called once more for the connections that
// move here.
//
// That connections do not move, because net/http is not as expected, is written to s.ErrorLog, or with slog's default
// logger if there is none; so is a connection of the predecessor that cannot be served here.
//
// While sections of state move, no request of s is begun, also if its listener is not of the generation (see the
// package).
//
// The same s may be given with several listeners; the first one's Spread counts. Functions that s knows by
// RegisterOnShutdown are called when the generation has ended, once.
func HTTP(s *http.Server, ln net.Listener) Server {
	return newHTTP("http", s, ln, s.Serve)
}

// HTTPS is [HTTP] for HTTP/1.1 and HTTP/2 over TLS, as by s.ServeTLS: the names of files may be empty if s.TLSConfig
// has a certificate.
//
// The keys of TLS session tickets travel with the handoff, so that clients that connect again resume their sessions:
// Run replaces s.TLSConfig by a copy with WrapSession and UnwrapSession. It does not where one of these is set, or
// SessionTicketKey, or tickets are disabled. Who shares keys among machines by SetSessionTicketKeys sets WrapSession
// and UnwrapSession to the configuration's own EncryptTicket and DecryptTicket. A configuration that GetConfigForClient
// returns has keys of its own, which do not travel.
//
// A client that resumes is not verified anew: crypto/tls does not call VerifyPeerCertificate for it, so that a
// certificate that the old program has accepted is good in the new one, for up to a week, whatever that thinks of it.
// Who decides by certificates which clients are welcome does so in VerifyConnection, which is called for resumed
// sessions too, or in the handler; or sets SessionTicketsDisabled.
func HTTPS(s *http.Server, ln net.Listener, certFile, keyFile string) Server {
	return newHTTP("https", s, ln, func(l net.Listener) error {
		return s.ServeTLS(l, certFile, keyFile)
	})
}

func newHTTP(kind string, s *http.Server, ln net.Listener, accept func(net.Listener) error) Server {
	if s == nil || ln == nil {
		return Server{}
	}
	return Server{kind: kind, ln: ln, impl: &httpServer{http: s, ln: ln, plain: kind == "http", accept: accept}}
}

// httpServer is an *http.Server on one listener.
type httpServer struct {
	http       *http.Server
	ln         net.Listener
	plain      bool
	spreadOver *time.Duration // nil: the default
	accept     func(net.Listener) error
	done       chan struct{} // closed when accept has returned, and with it what serves arrivals
	tracker    *tracker      // nil if no connection can move
	forget     func()        // undoes the tracker's registration

	hijackedFor time.Duration // see WaitHijacked
	*httpState
}

// httpState is what the listeners of one *http.Server have in common.
type httpState struct {
	server   *http.Server
	conns    conns
	hijacked hijacked
	leaving  atomic.Int32 // not 0: a successor serves, send the clients there; see leave
	stopping atomic.Bool
	// drained is the context of the last drain; nil when the generation ends, and is not revived any more.
	drained  atomic.Pointer[context.Context]
	released func() <-chan struct{}
	spread   spread
	draining draining // the same, and a hold
	trackers []*tracker
	holds    bool // requests can be held
	gate     gate
	recheck  chan struct{} // a connection may have become quiet; holds one
	asked    bool          // a hold wants endless responses to end
	unhold   func()        // undoes live.AddHolder
	scope    scope         // of requests whose context the program has replaced
	tested   bool
	order    error // if tested: how net/http differs from what moving depends on
	serving  []<-chan struct{}
	stopped  sync.Once

	waitHijacked time.Duration
}

func (h *httpServer) attach(r *runner) func(net.Conn) net.Conn {
	st := r.https[h.http]
	if st == nil {
		st = newHTTPState(h.http)
		st.waitHijacked = h.hijackedFor
		st.released = r.gen.Released
		st.spread.init(h.spreadOver, r.gen.DrainTimeout())
		st.holds, st.unhold = live.AddHolder(r.gen, st)
		r.https[h.http] = st
	}
	h.httpState = st
	h.done = make(chan struct{})
	st.serving = append(st.serving, h.done)
	h.register()
	return h.accepted
}

func newHTTPState(s *http.Server) *httpState {
	st := &httpState{server: s, recheck: make(chan struct{}, 1), unhold: func() {}}
	st.scope.st = st
	s.Handler = &handler{next: s.Handler, st: st}
	s.ConnState = st.connState(s.ConnState)
	s.ConnContext = st.connContext(s.ConnContext)
	return st
}

// accepted is told of each connection that the listener accepts.
func (h *httpServer) accepted(c net.Conn) net.Conn {
	if h.tracker != nil {
		c = h.tracker.track(c)
	}
	h.conns.add(c)
	return c
}

func (h *httpServer) serve(l net.Listener) error {
	defer close(h.done)
	if h.tracker == nil {
		return h.accept(l)
	}
	arrived := make(chan struct{})
	go func() {
		defer close(arrived)
		_ = h.http.Serve(h.tracker.arrivals) // ends when these are closed
	}()
	defer func() {
		_ = h.tracker.arrivals.Close()
		<-arrived
	}()
	return h.accept(l)
}

// connState returns the hook that takes finished connections out of the set. What was hijacked is finished, for
// net/http and for us.
func (st *httpState) connState(next func(net.Conn, http.ConnState)) func(net.Conn, http.ConnState) {
	return func(c net.Conn, s http.ConnState) {
		if next != nil {
			next(c, s)
		}
		t := trackedOf(c)
		if t != nil {
			t.state(s)
		}
		if s != http.StateClosed && s != http.StateHijacked {
			return
		}
		if t != nil {
			t.t.remove(t)
		}
		if s == http.StateHijacked {
			st.hijacked.add(c)
		}
		own := st.conns.remove(c)
		if t != nil {
			own = &t.scope
		}
		// A handler of HTTP/2 may run on when its connection has ended; one that has hijacked it is on its own.
		if own != nil && s == http.StateHijacked {
			st.gate.hijacked(own)
		}
	}
}

// drain asks the clients to leave and waits until they have. It calls neither Shutdown, which drops requests that it
// has read, nor SetKeepAlivesEnabled, which closes idle connections: both are final.
//
// When it returns, the generation was revived, or there is no connection left that need be told: a revival that comes
// later finds nothing to be undone.
func (h *httpServer) drain(ctx context.Context) error {
	defer h.bidFarewell(&ctx)()
	since := time.Now()
	err := h.farewell(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		h.force(ctx)
	}
	if err == nil {
		h.awaitHijacked(ctx, since)
		if errors.Is(ctx.Err(), context.Canceled) {
			err = ctx.Err() // revived, or to stop
		}
	}
	return err
}

// bidFarewell has the clients told to leave, until end is called, or drain, if it is not nil, is cancelled by a revival.
func (st *httpState) bidFarewell(drain *context.Context) (end func()) {
	st.drained.Store(drain)
	if st.leaving.Load() == 0 { // or who is about to be told would have to wait once more
		st.spread.begin()
	}
	st.leaving.Add(1)
	st.draining.begin(false)
	return func() {
		st.leaving.Add(-1)
		st.draining.end(false)
	}
}

// leave reports whether clients are to be told to leave. After a revival they are not, also if drain has not noticed
// yet: connections that have come back from their way to the successor are read from at once.
func (st *httpState) leave() bool {
	if st.leaving.Load() == 0 {
		return false
	}
	drain := st.drained.Load()
	return st.stopping.Load() || drain == nil || !errors.Is((*drain).Err(), context.Canceled)
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
	if h.forget != nil {
		h.forget()
	}
	h.stopped.Do(func() { h.httpState.stop(ctx, h.http, drained) })
	return nil
}

func (st *httpState) stop(ctx context.Context, s *http.Server, drained bool) {
	since := time.Now()
	st.stopping.Store(true)
	st.leaving.Add(1)
	st.unhold()
	st.abandon()
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
	if !drained {
		st.awaitHijacked(ctx, since)
	}
	st.countHijacked()
}
