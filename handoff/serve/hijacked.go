package serve

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// WaitHijacked returns s with a time for which Run waits for connections that a handler has taken over (http.Hijacker):
// WebSockets, tunnels that httputil.ReverseProxy makes of requests with Upgrade, CONNECT. It counts from the moment at
// which a successor has taken over, or the program is to stop, and Config.DrainTimeout bounds it; so a negative d is as
// long as that. When the last of them is closed, the wait is over.
//
// The default is zero: Run does not wait for them. They end with the process, which after an upgrade is when everything
// else is drained and Config.Guard is over (three seconds after the successor confirmed, unless set otherwise). How many
// are left when Run gives up on them is in the log, where net/http logs for the server.
//
// It is of no effect on servers other than those of [HTTP] and [HTTPS]. Of several servers of one *http.Server, the first
// one's holds for all. A connection of a listener that wraps the generation's is counted, and waited for, only if it has
// the method SyscallConn, or NetConn, as that of a tls.Conn.
func (s Server) WaitHijacked(d time.Duration) Server {
	if h, ok := s.impl.(*httpServer); ok {
		c := *h
		c.hijackedFor = d
		s.impl = &c
	}
	return s
}

// hijacked are the connections that the program has taken over and not closed yet. net/http does not say when it closes
// one, and what it has may be a wrapper of ours, of crypto/tls or of its own. So the descriptor below is asked. The zero
// value has none.
type hijacked struct {
	mu    sync.Mutex
	conns []syscall.RawConn // may be closed
	limit int               // at so many the closed ones are dropped
}

// add is told of each connection that was hijacked.
func (j *hijacked) add(c net.Conn) {
	for ; c != nil; c = below(c) {
		s, ok := c.(syscall.Conn)
		if !ok {
			continue
		}
		raw, err := s.SyscallConn()
		if err != nil {
			return
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.conns = append(j.conns, raw); len(j.conns) > j.limit {
			j.sweep()
			j.limit = 2*len(j.conns) + 64
		}
		return
	}
}

// sweep drops those that are closed. Callers hold mu.
func (j *hijacked) sweep() {
	open := j.conns[:0]
	for _, raw := range j.conns {
		if raw.Control(func(uintptr) {}) == nil {
			open = append(open, raw)
		}
	}
	clear(j.conns[len(open):])
	j.conns = open
}

// count returns how many are open.
func (j *hijacked) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sweep()
	return len(j.conns)
}

// wait waits until none is open, or ctx ends.
func (j *hijacked) wait(ctx context.Context) {
	const often = 100 * time.Millisecond
	for j.count() > 0 {
		select {
		case <-time.After(often):
		case <-ctx.Done():
			return
		}
	}
}

// awaitHijacked waits for them for as long as is left of the time that began at since, or until ctx ends.
func (st *httpState) awaitHijacked(ctx context.Context, since time.Time) {
	if st.waitHijacked == 0 {
		return
	}
	if st.waitHijacked > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, since.Add(st.waitHijacked))
		defer cancel()
	}
	st.hijacked.wait(ctx)
}

// countHijacked logs how many are left when nobody waits any more.
func (st *httpState) countHijacked() {
	if n := st.hijacked.count(); n > 0 {
		logTo(st.server, fmt.Sprintf("serve: hijacked connections are cut when this process ends: %d; "+
			"have Server.WaitHijacked wait longer for them, or move them (Generation.Give)", n))
	}
}
