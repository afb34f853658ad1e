package serve

import (
	"context"
	"errors"
	"hash/maphash"
	"math"
	"sync/atomic"
	"time"
)

// Spread returns s with another time over which it asks its clients to leave, when a successor has taken over: those on
// connections that cannot move, because of TLS for example. They come back to the successor with new connections, and
// should not all come at once. Each connection gets a moment within d, by chance; until then it is served as before,
// and from then on its next response says "Connection: close", or is preceded by GOAWAY.
//
// The default is a quarter of Config.DrainTimeout, but 10 seconds at most. Zero is at once. It is of no effect on servers
// other than those of [HTTP] and [HTTPS]. Of several servers of one *http.Server, the first one's holds for all.
func (s Server) Spread(d time.Duration) Server {
	if h, ok := s.impl.(*httpServer); ok {
		c := *h
		d = max(d, 0)
		c.spreadOver = &d
		s.impl = &c
	}
	return s
}

// maxSpread bounds the default of Spread.
const maxSpread = 10 * time.Second

// spread is when which client is asked to leave.
type spread struct {
	over  time.Duration
	seed  maphash.Seed
	base  time.Time
	begun atomic.Int64 // nanoseconds after base
}

func (s *spread) init(over *time.Duration, drainTimeout time.Duration) {
	s.seed, s.base = maphash.MakeSeed(), time.Now()
	switch {
	case over != nil:
		s.over = *over
	case drainTimeout < 0:
		s.over = maxSpread
	default:
		s.over = min(drainTimeout/4, maxSpread)
	}
}

// begin begins a drain.
func (s *spread) begin() { s.begun.Store(int64(time.Since(s.base))) }

// due reports whether the client at this address is to be asked by now.
func (st *httpState) due(client string) bool { return st.until(client) <= 0 }

// until returns how long it is until the client at this address is to be asked. What decides is a hash of the address,
// so that nothing need be remembered of a connection; clients on a Unix socket have no addresses, and are asked at one
// time.
func (st *httpState) until(client string) time.Duration {
	s := &st.spread
	if s.over <= 0 || st.stopping.Load() {
		return 0
	}
	place := float64(maphash.String(s.seed, client)) / math.MaxUint64
	return time.Duration(place*float64(s.over)) - (time.Since(s.base) - time.Duration(s.begun.Load()))
}

// farewell waits until no connection is left, or ctx ends. Shortly before its deadline, if this generation cannot be
// revived any more, a server of HTTP/2 says to those who are still there what only http.Server.Shutdown can say without
// a request: GOAWAY to connections on which nothing happens. Its idle HTTP/1.1 connections are closed then, which
// otherwise would be cut a second later.
func (h *httpServer) farewell(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	last := min(lastCall, time.Until(deadline)/4)
	http2 := !h.plain || h.http.Protocols != nil && h.http.Protocols.UnencryptedHTTP2()
	if !ok || last <= 0 || !http2 {
		return h.conns.wait(ctx)
	}
	early, cancel := context.WithDeadline(ctx, deadline.Add(-last))
	err := h.conns.wait(early)
	cancel()
	if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	select {
	case <-h.released():
		_ = h.http.Shutdown(ctx) // ends with ctx, at the latest
	default:
	}
	return h.conns.wait(ctx)
}
